# A run of one announced suite: its numbers move with each tick, and it is finished after 30 s of silence.
ingest
{"eventId":"s1-1","eventType":"run_started","streamId":"s1","version":1,"timestamp":1000,"correlationId":"r1","data":{"plannedTests":2},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-2","eventType":"test_suite_started","streamId":"s1","version":2,"timestamp":1000,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 1000
expect run_progress
+ ["web","r1","running","main",null,"ann",null,2,0,0,0,0,0,0,0,1000,1000,1,1,null]

# Both ways to say that a test passed are one outcome.
ingest
{"eventId":"s1-3","eventType":"test_case_started","streamId":"s1","version":3,"timestamp":1100,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-4","eventType":"test_passed","streamId":"s1","version":4,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-5","eventType":"test_case_completed","streamId":"s1","version":5,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","result":"passed"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 2000
expect run_progress
- ["web","r1","running","main",null,"ann",null,2,0,0,0,0,0,0,0,1000,1000,1,1,null]
+ ["web","r1","running","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,1500,1,1,null]

# An error fails the run, at first only in its numbers.
ingest
{"eventId":"s1-6","eventType":"test_error","streamId":"s1","version":6,"timestamp":2500,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-7","eventType":"test_suite_completed","streamId":"s1","version":7,"timestamp":2600,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 3000
expect run_progress
- ["web","r1","running","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,1500,1,1,null]
+ ["web","r1","running","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null]

# Quiet since 3,000: finished at 33,000.
advance 33000
expect run_progress
+ ["web","r1","failed","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null]
- ["web","r1","running","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null]

# The error is taken back; nobody makes the run run again by that.
ingest
{"eventId":"s1-8","eventType":"result_withdrawn","streamId":"s1","version":8,"timestamp":34000,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 34000
expect run_progress
- withdrawn ["web","r1","failed","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null]
+ ["web","r1","passed","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,34000,1,0,null]

# An hour after its end it leaves.
advance 3633000
expect run_progress
- evicted ["web","r1","passed","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,34000,1,0,null]
