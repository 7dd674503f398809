# A run of one announced suite: its numbers move with each tick, and it is finished after 30 s of silence.
ingest
{"eventId":"s1-1","eventType":"run_started","streamId":"s1","version":1,"timestamp":1000,"correlationId":"r1","data":{"plannedTests":2},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-2","eventType":"test_suite_started","streamId":"s1","version":2,"timestamp":1000,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 1000
expect run_progress
+ ["web","r1","running","main",null,"ann",null,2,0,0,0,0,0,0,0,1000,1000,1,1,null,null,null]

# Both ways to say that a test passed are one outcome.
ingest
{"eventId":"s1-3","eventType":"test_case_started","streamId":"s1","version":3,"timestamp":1100,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-4","eventType":"test_passed","streamId":"s1","version":4,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-5","eventType":"test_case_completed","streamId":"s1","version":5,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","result":"passed"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 2000
expect run_progress
- ["web","r1","running","main",null,"ann",null,2,0,0,0,0,0,0,0,1000,1000,1,1,null,null,null]
+ ["web","r1","running","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,1500,1,1,null,2000,null]

# An error fails the run, at first only in its numbers.
ingest
{"eventId":"s1-6","eventType":"test_error","streamId":"s1","version":6,"timestamp":2500,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
{"eventId":"s1-7","eventType":"test_suite_completed","streamId":"s1","version":7,"timestamp":2600,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 3000
expect run_progress
- ["web","r1","running","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,1500,1,1,null,2000,null]
+ ["web","r1","running","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null,null,null]

# Quiet since 3,000: finished at 33,000.
advance 33000
expect run_progress
+ ["web","r1","failed","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null,null,null]
- ["web","r1","running","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null,null,null]

# The error is taken back; nobody makes the run run again by that.
ingest
{"eventId":"s1-8","eventType":"result_withdrawn","streamId":"s1","version":8,"timestamp":34000,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","userId":"ann"}}
advance 34000
expect run_progress
- withdrawn ["web","r1","failed","main",null,"ann",null,2,2,2,1,0,0,1,0,1000,2600,1,0,null,null,null]
+ ["web","r1","passed","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,34000,1,0,null,null,null]

# An hour after its end it leaves.
advance 3633000
expect run_progress
- evicted ["web","r1","passed","main",null,"ann",null,2,1,1,1,0,0,0,0,1000,34000,1,0,null,null,null]

# Another run tries a failing test twice at most: one of four tests in two seconds, so the others take six more.
ingest
{"eventId":"s2-1","eventType":"run_started","streamId":"s2","version":1,"timestamp":4000000,"correlationId":"r2","data":{"plannedTests":4,"maxAttempts":2},"metadata":{"project":"web"}}
{"eventId":"s2-2","eventType":"test_failed","streamId":"s2","version":2,"timestamp":4002000,"correlationId":"r2","data":{"testId":"a","attempt":1},"metadata":{"project":"web"}}
advance 4002000
expect run_progress
+ ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4002000,1,1,null,4008000,true]

# It is tried again: while the second attempt runs, the run can still pass.
ingest
{"eventId":"s2-3","eventType":"test_case_started","streamId":"s2","version":3,"timestamp":4002500,"correlationId":"r2","data":{"testId":"a","attempt":2},"metadata":{"project":"web"}}
advance 4003000
expect run_progress
- ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4002000,1,1,null,4008000,true]
+ ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4002500,1,1,null,4010000,true]

# It fails again: that was its last attempt.
ingest
{"eventId":"s2-4","eventType":"test_failed","streamId":"s2","version":4,"timestamp":4004000,"correlationId":"r2","data":{"testId":"a","attempt":2},"metadata":{"project":"web"}}
advance 4004000
expect run_progress
- ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4002500,1,1,null,4010000,true]
+ ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4004000,1,1,null,4016000,false]

# Unless it is taken back. When the run has ended, nothing is expected of it any more.
ingest
{"eventId":"s2-5","eventType":"result_withdrawn","streamId":"s2","version":5,"timestamp":4005000,"correlationId":"r2","data":{"testId":"a","attempt":2},"metadata":{"project":"web"}}
{"eventId":"s2-6","eventType":"run_completed","streamId":"s2","version":6,"timestamp":4005000,"correlationId":"r2","data":{},"metadata":{"project":"web"}}
advance 4005000
expect run_progress
+ ["web","r2","failed",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4005000,1,1,null,null,true]
- withdrawn ["web","r2","running",null,null,null,null,4,1,1,0,1,0,0,0,4000000,4004000,1,1,null,4016000,false]
