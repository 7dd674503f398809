# A suite announces three tests, one begins and never ends, one ends: seen once the run has ended.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":3},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_case_started","streamId":"s1","version":2,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":900,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 1000
expect missing

ingest
{"eventId":"s1-4","eventType":"run_completed","streamId":"s1","version":4,"timestamp":1900,"correlationId":"r1","data":{},"metadata":{"project":"web"}}
advance 2000
expect missing
+ ["web","r1","not_finished","a",1,2000,null]
+ ["web","r1","not_started","unit",1,2000,null]

# A straggler reopens the run.
ingest
{"eventId":"s1-5","eventType":"test_passed","streamId":"s1","version":5,"timestamp":2900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 3000
expect missing
- ["web","r1","not_finished","a",1,2000,null]
- ["web","r1","not_started","unit",1,2000,null]

# After its word, it needs only to be quiet again.
advance 33000
expect missing
+ ["web","r1","not_started","unit",1,33000,null]

# Another run falls silent for two hours.
ingest
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":34000,"correlationId":"r2","data":{"testId":"a"},"metadata":{"project":"web"}}
advance 34000
advance 7234000
expect missing
- evicted ["web","r1","not_started","unit",1,33000,null]
+ ["web","r2","abandoned","",1,7234000,null]

# A run of three shards: one loses its second event and completes, one begins and says nothing more, one never comes.
ingest
{"eventId":"s3-1","eventType":"test_suite_started","streamId":"s3","version":1,"timestamp":8000000,"correlationId":"r3","data":{"testSuiteId":"unit"},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"s3-3","eventType":"test_suite_completed","streamId":"s3","version":3,"timestamp":8000000,"correlationId":"r3","data":{"testSuiteId":"unit"},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"s4-1","eventType":"run_started","streamId":"s4","version":1,"timestamp":8000000,"correlationId":"r3","data":{"plannedShards":3},"metadata":{"project":"web","worker":"w2"}}
{"eventId":"s4-2","eventType":"test_suite_started","streamId":"s4","version":2,"timestamp":8000000,"correlationId":"r3","data":{"testSuiteId":"unit"},"metadata":{"project":"web","worker":"w2"}}
advance 8000000
expect missing
+ ["web","r3","version_gap","s3",1,8000000,"w1"]

# Two minutes later.
advance 8119990
expect missing
advance 8120000
expect missing
+ ["web","r3","silent_shard","s4",1,8000000,"w2"]

# It speaks, and what was lost comes after all.
ingest
{"eventId":"s4-3","eventType":"test_passed","streamId":"s4","version":3,"timestamp":8121000,"correlationId":"r3","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","worker":"w2"}}
{"eventId":"s3-2","eventType":"test_passed","streamId":"s3","version":2,"timestamp":8000000,"correlationId":"r3","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web","worker":"w1"}}
advance 8121000
expect missing
- ["web","r3","silent_shard","s4",1,8000000,"w2"]
- ["web","r3","version_gap","s3",1,8000000,"w1"]

# The run ends with an event of a shard still to come.
ingest
{"eventId":"s4-5","eventType":"run_completed","streamId":"s4","version":5,"timestamp":8122000,"correlationId":"r3","data":{},"metadata":{"project":"web","worker":"w2"}}
advance 8122000
expect missing
+ ["web","r3","shard_not_started","",1,8122000,null]
+ ["web","r3","version_gap","s4",1,8122000,"w2"]

# An hour later all of it leaves.
advance 11722000
expect missing
- evicted ["web","r2","abandoned","",1,7234000,null]
- evicted ["web","r3","shard_not_started","",1,8122000,null]
- evicted ["web","r3","version_gap","s4",1,8122000,"w2"]
