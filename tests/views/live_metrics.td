# One second of tests, then 60 s until they have left the shortest window.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":4},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_case_started","streamId":"s1","version":2,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":900,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit","duration":10},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"test_failed","streamId":"s1","version":4,"timestamp":900,"correlationId":"r1","data":{"testId":"c","testSuiteId":"unit","duration":30,"error":{"message":"boom"}},"metadata":{"project":"web"}}
advance 1000
expect live_metrics
+ ["web","project","web","10m",0.003333,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000556,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","project","web","60s",0.033333,50,50,20,10.048,30.08,30.08,100,1,1,1,1,null,null,null]
+ ["web","suite","unit","10m",0.003333,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000556,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","suite","unit","60s",0.033333,50,50,20,10.048,30.08,30.08,100,1,1,null,null,null,null,null]

# The failure is taken back.
ingest
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":1900,"correlationId":"r1","data":{"testId":"c"},"metadata":{"project":"web"}}
advance 2000
expect live_metrics
+ ["web","project","web","10m",0.001667,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","10m",0.003333,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000278,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","1h",0.000556,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","project","web","60s",0.016667,100,0,10,10.048,10.048,10.048,100,0,1,1,2,null,null,null]
- withdrawn ["web","project","web","60s",0.033333,50,50,20,10.048,30.08,30.08,100,1,1,1,1,null,null,null]
+ ["web","suite","unit","10m",0.001667,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","10m",0.003333,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000278,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","1h",0.000556,50,50,20,10.048,30.08,30.08,100,1,null,null,null,null,null,null]
+ ["web","suite","unit","60s",0.016667,100,0,10,10.048,10.048,10.048,100,0,1,null,null,null,null,null]
- withdrawn ["web","suite","unit","60s",0.033333,50,50,20,10.048,30.08,30.08,100,1,1,null,null,null,null,null]

ingest
{"eventId":"s1-6","eventType":"test_skipped","streamId":"s1","version":6,"timestamp":1900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-7","eventType":"test_suite_completed","streamId":"s1","version":7,"timestamp":1900,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 3000
expect live_metrics
- ["web","project","web","10m",0.001667,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","project","web","10m",0.003333,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- ["web","project","web","1h",0.000278,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000556,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- ["web","project","web","60s",0.016667,100,0,10,10.048,10.048,10.048,100,0,1,1,2,null,null,null]
+ ["web","project","web","60s",0.033333,100,0,10,10.048,10.048,10.048,100,0,0,0,2,null,null,null]
- ["web","suite","unit","10m",0.001667,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","10m",0.003333,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000278,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000556,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
- ["web","suite","unit","60s",0.016667,100,0,10,10.048,10.048,10.048,100,0,1,null,null,null,null,null]
+ ["web","suite","unit","60s",0.033333,100,0,10,10.048,10.048,10.048,100,0,0,null,null,null,null,null]

advance 62000
expect live_metrics
- ["web","project","web","60s",0.033333,100,0,10,10.048,10.048,10.048,100,0,0,0,2,null,null,null]
- ["web","suite","unit","60s",0.033333,100,0,10,10.048,10.048,10.048,100,0,0,null,null,null,null,null]

# The run ended at 33,000 and awaits nothing more.
advance 70000
expect live_metrics

# A report of what ran up to eleven minutes ago: in the windows that are long enough; branch and framework have rows too.
ingest
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":599000,"correlationId":"r2","data":{"testId":"a","testSuiteId":"unit","duration":0.1},"metadata":{"project":"web","framework":"pytest","branch":"main"}}
{"eventId":"s2-2","eventType":"test_error","streamId":"s2","version":2,"timestamp":300000,"correlationId":"r2","data":{"testId":"b","duration":2000,"error":{"message":"boom"}},"metadata":{"project":"web","framework":"pytest","branch":"main"}}
{"eventId":"s2-3","eventType":"test_passed","streamId":"s2","version":3,"timestamp":1000,"correlationId":"r2","data":{"testId":"c","duration":60000},"metadata":{"project":"web","framework":"pytest","branch":"main"}}
advance 611500
expect live_metrics
+ ["web","branch","main","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
+ ["web","framework","pytest","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","project","web","10m",0.003333,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","project","web","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,0,1,0,null,null,null]
- ["web","suite","unit","10m",0.003333,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,0,null,null,null,null,null]

# The longer windows' rows move at whole seconds.
advance 612000
expect live_metrics
+ ["web","branch","main","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
+ ["web","branch","main","1h",0.000833,66.666667,33.333333,20666.7,2007.04,60030.976,60030.976,66.666667,1,null,null,null,null,null,null]
+ ["web","framework","pytest","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
+ ["web","framework","pytest","1h",0.000833,66.666667,33.333333,20666.7,2007.04,60030.976,60030.976,66.666667,1,null,null,null,null,null,null]
+ ["web","project","web","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
- ["web","project","web","1h",0.000556,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.001389,75,25,15502.525,10.048,60030.976,60030.976,75,1,null,null,null,null,null,null]
+ ["web","suite","unit","10m",0.001667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000556,100,0,10,10.048,10.048,10.048,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000833,100,0,5.05,0.1,10.048,10.048,100,0,null,null,null,null,null,null]

# What was told in time is taken back from the hour when it is in no other window.
ingest
{"eventId":"s2-4","eventType":"result_withdrawn","streamId":"s2","version":4,"timestamp":2000000,"correlationId":"r2","data":{"testId":"b"},"metadata":{"project":"web","framework":"pytest","branch":"main"}}
advance 2000000
expect live_metrics
- ["web","branch","main","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
+ ["web","branch","main","1h",0.000556,100,0,30000.05,0.1,60030.976,60030.976,100,0,null,null,null,null,null,null]
- withdrawn ["web","branch","main","1h",0.000833,66.666667,33.333333,20666.7,2007.04,60030.976,60030.976,66.666667,1,null,null,null,null,null,null]
- ["web","branch","main","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","framework","pytest","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
+ ["web","framework","pytest","1h",0.000556,100,0,30000.05,0.1,60030.976,60030.976,100,0,null,null,null,null,null,null]
- withdrawn ["web","framework","pytest","1h",0.000833,66.666667,33.333333,20666.7,2007.04,60030.976,60030.976,66.666667,1,null,null,null,null,null,null]
- ["web","framework","pytest","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","project","web","10m",0.003333,50,50,1000.05,0.1,2007.04,2007.04,50,1,null,null,null,null,null,null]
+ ["web","project","web","1h",0.001111,100,0,20003.367,10.048,60030.976,60030.976,100,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","1h",0.001389,75,25,15502.525,10.048,60030.976,60030.976,75,1,null,null,null,null,null,null]
+ ["web","project","web","60s",0,100,0,null,null,null,null,null,0,0,1,0,null,null,null]
- ["web","project","web","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,0,1,0,null,null,null]
- ["web","suite","unit","10m",0.001667,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","suite","unit","60s",0.016667,100,0,0.1,0.1,0.1,0.1,100,0,0,null,null,null,null,null]

advance 3660000
expect live_metrics
+ ["web","branch","main","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","branch","main","1h",0.000556,100,0,30000.05,0.1,60030.976,60030.976,100,0,null,null,null,null,null,null]
+ ["web","framework","pytest","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","framework","pytest","1h",0.000556,100,0,30000.05,0.1,60030.976,60030.976,100,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","project","web","1h",0.001111,100,0,20003.367,10.048,60030.976,60030.976,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000833,100,0,5.05,0.1,10.048,10.048,100,0,null,null,null,null,null,null]

advance 4200000
expect live_metrics
- ["web","branch","main","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","framework","pytest","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","project","web","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000278,100,0,0.1,0.1,0.1,0.1,100,0,null,null,null,null,null,null]
