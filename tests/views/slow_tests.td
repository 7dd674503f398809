# Two tests, the slower one first; what was skipped says nothing of its test.
ingest
{"eventId":"1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit","duration":100},"metadata":{"project":"web"}}
{"eventId":"2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":950,"correlationId":"r1","data":{"testId":"b","duration":40},"metadata":{"project":"web"}}
{"eventId":"3","eventType":"test_skipped","streamId":"s1","version":3,"timestamp":950,"correlationId":"r1","data":{"testId":"c","duration":4000},"metadata":{"project":"web"}}
advance 1000
expect slow_tests
advance 10000
expect slow_tests
+ ["web","a","adds","unit",99.84,99.84,1,null]
+ ["web","b","b",null,40.192,40.192,1,null]

# A second run, in which `a` takes more than twice as long: it is slow, and the project's score says so. Taken back, it is not.
ingest
{"eventId":"1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":11900,"correlationId":"r2","data":{"testId":"a","testName":"adds up","testSuiteId":"unit","duration":201.6},"metadata":{"project":"web"}}
{"eventId":"2","eventType":"test_passed","streamId":"s2","version":2,"timestamp":11950,"correlationId":"r2","data":{"testId":"b","duration":79},"metadata":{"project":"web"}}
advance 12000
expect live_metrics
- ["web","project","web","10m",0.005,100,0,1380,99.84,4014.08,4014.08,100,0,null,null,null,null,null,null]
+ ["web","project","web","10m",0.008333,100,0,884.12,99.84,4014.08,4014.08,75,0,null,null,null,null,null,null]
- ["web","project","web","1h",0.000833,100,0,1380,99.84,4014.08,4014.08,100,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.001389,100,0,884.12,99.84,4014.08,4014.08,75,0,null,null,null,null,null,null]
- ["web","project","web","60s",0.05,100,0,1380,99.84,4014.08,4014.08,100,0,0,1,0,null,null,null]
+ ["web","project","web","60s",0.083333,100,0,884.12,99.84,4014.08,4014.08,75,0,0,2,0,null,null,null]
- ["web","suite","unit","10m",0.001667,100,0,100,99.84,99.84,99.84,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","10m",0.003333,100,0,150.8,99.84,201.728,201.728,50,0,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000278,100,0,100,99.84,99.84,99.84,100,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000556,100,0,150.8,99.84,201.728,201.728,50,0,null,null,null,null,null,null]
- ["web","suite","unit","60s",0.016667,100,0,100,99.84,99.84,99.84,100,0,0,null,null,null,null,null]
+ ["web","suite","unit","60s",0.033333,100,0,150.8,99.84,201.728,201.728,50,0,0,null,null,null,null,null]
advance 20000
expect slow_tests
+ ["web","a","adds up","unit",99.84,201.728,2,null]
- ["web","a","adds","unit",99.84,99.84,1,null]
- ["web","b","b",null,40.192,40.192,1,null]
+ ["web","b","b",null,40.192,79.36,2,null]
ingest
{"eventId":"3","eventType":"result_withdrawn","streamId":"s2","version":3,"timestamp":20900,"correlationId":"r2","data":{"testId":"a"},"metadata":{"project":"web"}}
advance 21000
expect live_metrics
+ ["web","project","web","10m",0.006667,100,0,1054.75,79.36,4014.08,4014.08,100,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","10m",0.008333,100,0,884.12,99.84,4014.08,4014.08,75,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.001111,100,0,1054.75,79.36,4014.08,4014.08,100,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","1h",0.001389,100,0,884.12,99.84,4014.08,4014.08,75,0,null,null,null,null,null,null]
+ ["web","project","web","60s",0.066667,100,0,1054.75,79.36,4014.08,4014.08,100,0,0,2,0,null,null,null]
- withdrawn ["web","project","web","60s",0.083333,100,0,884.12,99.84,4014.08,4014.08,75,0,0,2,0,null,null,null]
+ ["web","suite","unit","10m",0.001667,100,0,100,99.84,99.84,99.84,100,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","10m",0.003333,100,0,150.8,99.84,201.728,201.728,50,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000278,100,0,100,99.84,99.84,99.84,100,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","1h",0.000556,100,0,150.8,99.84,201.728,201.728,50,0,null,null,null,null,null,null]
+ ["web","suite","unit","60s",0.016667,100,0,100,99.84,99.84,99.84,100,0,0,null,null,null,null,null]
- withdrawn ["web","suite","unit","60s",0.033333,100,0,150.8,99.84,201.728,201.728,50,0,0,null,null,null,null,null]
advance 30000
expect slow_tests
- withdrawn ["web","a","adds up","unit",99.84,201.728,2,null]
+ ["web","a","adds up","unit",99.84,99.84,1,null]

# The next day `b` takes three times as long.
ingest
{"eventId":"1","eventType":"test_passed","streamId":"s3","version":1,"timestamp":86400000,"correlationId":"r3","data":{"testId":"b","duration":120},"metadata":{"project":"web"}}
advance 86410000
expect slow_tests
- ["web","b","b",null,40.192,79.36,2,null]
+ ["web","b","b",null,79.36,120.32,3,199.363057]

# Seven days later the first day leaves.
advance 691190000
advance 691200000
expect slow_tests
- evicted ["web","a","adds up","unit",99.84,99.84,1,null]
+ ["web","b","b",null,120.32,120.32,1,null]
- ["web","b","b",null,79.36,120.32,3,199.363057]
advance 777600000
expect slow_tests
- evicted ["web","b","b",null,120.32,120.32,1,null]
