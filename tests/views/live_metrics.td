# One second of tests, then 60 s until they have left the window.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":4},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_case_started","streamId":"s1","version":2,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":900,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit","duration":10},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"test_failed","streamId":"s1","version":4,"timestamp":900,"correlationId":"r1","data":{"testId":"c","testSuiteId":"unit","duration":30,"error":{"message":"boom"}},"metadata":{"project":"web"}}
advance 1000
expect live_metrics
+ ["web","project","web","60s",0.033333,50,50,20,1,1,1,1]
+ ["web","suite","unit","60s",0.033333,50,50,20,1,1,null,null]

# The failure is taken back.
ingest
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":1900,"correlationId":"r1","data":{"testId":"c"},"metadata":{"project":"web"}}
advance 2000
expect live_metrics
+ ["web","project","web","60s",0.016667,100,0,10,1,0,1,2]
- withdrawn ["web","project","web","60s",0.033333,50,50,20,1,1,1,1]
+ ["web","suite","unit","60s",0.016667,100,0,10,1,0,null,null]
- withdrawn ["web","suite","unit","60s",0.033333,50,50,20,1,1,null,null]

ingest
{"eventId":"s1-6","eventType":"test_skipped","streamId":"s1","version":6,"timestamp":1900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-7","eventType":"test_suite_completed","streamId":"s1","version":7,"timestamp":1900,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 3000
expect live_metrics
- ["web","project","web","60s",0.016667,100,0,10,1,0,1,2]
+ ["web","project","web","60s",0.033333,100,0,10,0,0,0,2]
- ["web","suite","unit","60s",0.016667,100,0,10,1,0,null,null]
+ ["web","suite","unit","60s",0.033333,100,0,10,0,0,null,null]

advance 62000
expect live_metrics
- ["web","project","web","60s",0.033333,100,0,10,0,0,0,2]
- ["web","suite","unit","60s",0.033333,100,0,10,0,0,null,null]

# The run ended at 33,000 and awaits nothing more.
advance 70000
expect live_metrics
