# What ended and was measured in 10 s is told at their end, and has left by the next one.
ingest
{"eventId":"s1-1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":400,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","duration":100},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":500,"correlationId":"r1","data":{"testId":"t2","testSuiteId":"unit","duration":301},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"performance_measured","streamId":"s1","version":3,"timestamp":500,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","duration":100,"performance":{"memory":100000000,"cpu":0.5,"metrics":{"heap":12.5,"gc":3}}},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"performance_measured","streamId":"s1","version":4,"timestamp":600,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","performance":{"memory":300000001,"metrics":{"heap":14}}},"metadata":{"project":"web"}}
advance 700
expect performance_summary
advance 1000
expect performance_summary
advance 10000
expect performance_summary
+ ["web","suite","unit",200.5,200000001,301.056]
+ ["web","test","t1",100,200000001,100]
advance 20000
expect performance_summary
- ["web","suite","unit",200.5,200000001,301.056]
- ["web","test","t1",100,200000001,100]
