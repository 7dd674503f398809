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
