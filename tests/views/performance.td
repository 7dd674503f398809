# Attempts make a suite's durations; what is measured of a test also counts for its suite.
ingest
{"eventId":"s1-1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":400,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","duration":100},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":500,"correlationId":"r1","data":{"testId":"t2","testSuiteId":"unit","duration":301},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"performance_measured","streamId":"s1","version":3,"timestamp":500,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","duration":100,"performance":{"memory":100000000,"cpu":0.5,"metrics":{"heap":12.5,"gc":3}}},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"performance_measured","streamId":"s1","version":4,"timestamp":600,"correlationId":"r1","data":{"testId":"t1","testSuiteId":"unit","performance":{"memory":300000001,"metrics":{"heap":14}}},"metadata":{"project":"web"}}
advance 700
expect performance
advance 1000
expect performance
+ ["web","suite","unit","10s",2,2,200.5,301.056,301.056,200000001,299892736,0.5,["gc=3","heap=13.25"]]
+ ["web","test","t1","10s",null,2,100,100,99.84,200000001,299892736,0.5,["gc=3","heap=13.25"]]

# One of a suite alone, and one that says neither: of that nobody has a row. The longer window moves at whole 10 s.
ingest
{"eventId":"s1-5","eventType":"performance_measured","streamId":"s1","version":5,"timestamp":3000,"correlationId":"r1","data":{"testSuiteId":"e2e","performance":{"cpu":1.25,"memory":-5}},"metadata":{"project":"web"}}
{"eventId":"s1-6","eventType":"performance_measured","streamId":"s1","version":6,"timestamp":3000,"correlationId":"r1","data":{"performance":{"cpu":9}},"metadata":{"project":"web"}}
advance 4000
expect performance
+ ["web","suite","e2e","10s",0,1,null,null,null,0,0,1.25,[]]
advance 10000
expect performance
+ ["web","suite","e2e","10m",0,1,null,null,null,0,0,1.25,[]]
+ ["web","suite","unit","10m",2,2,200.5,301.056,301.056,200000001,299892736,0.5,["gc=3","heap=13.25"]]
+ ["web","test","t1","10m",null,2,100,100,99.84,200000001,299892736,0.5,["gc=3","heap=13.25"]]

# A withdrawal by event takes a measurement back where it still is.
ingest
{"eventId":"s1-7","eventType":"result_withdrawn","streamId":"s1","version":7,"timestamp":10500,"correlationId":"r1","data":{"withdraws":"s1-4"},"metadata":{"project":"web"}}
advance 10500
advance 11000
expect performance
- ["web","suite","unit","10s",2,2,200.5,301.056,301.056,200000001,299892736,0.5,["gc=3","heap=13.25"]]
- ["web","test","t1","10s",null,2,100,100,99.84,200000001,299892736,0.5,["gc=3","heap=13.25"]]
advance 20000
expect performance
- ["web","suite","e2e","10s",0,1,null,null,null,0,0,1.25,[]]
+ ["web","suite","unit","10m",2,1,200.5,301.056,301.056,100000000,100139008,0.5,["gc=3","heap=12.5"]]
- withdrawn ["web","suite","unit","10m",2,2,200.5,301.056,301.056,200000001,299892736,0.5,["gc=3","heap=13.25"]]
+ ["web","test","t1","10m",null,1,100,100,99.84,100000000,100139008,0.5,["gc=3","heap=12.5"]]
- withdrawn ["web","test","t1","10m",null,2,100,100,99.84,200000001,299892736,0.5,["gc=3","heap=13.25"]]

# An incident covers what was measured on a machine, and its end brings it back. An event of a test may say what it used as well.
ingest
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":20500,"correlationId":"r1","data":{"testId":"t3","testSuiteId":"unit","duration":50,"performance":{"memory":1000}},"metadata":{"project":"web","worker":"w1"}}
advance 21000
expect performance
+ ["web","suite","unit","10s",1,1,50,50,49.92,1000,1004,null,[]]
+ ["web","test","t3","10s",null,1,50,50,49.92,1000,1004,null,[]]
say
{"project":"web","id":"i1","change":{"incident":{"worker":"w1"}}}
advance 21500
advance 22000
expect performance
- withdrawn ["web","suite","unit","10s",1,1,50,50,49.92,1000,1004,null,[]]
- withdrawn ["web","test","t3","10s",null,1,50,50,49.92,1000,1004,null,[]]
say
{"project":"web","id":"i1","change":{"removed":"incident"}}
advance 22500
advance 23000
expect performance
+ ["web","suite","unit","10s",1,1,50,50,49.92,1000,1004,null,[]]
+ ["web","test","t3","10s",null,1,50,50,49.92,1000,1004,null,[]]

# What is late for 10 s is in 10 min all the same, what is late for both is in none. Ten minutes later all has left.
ingest
{"eventId":"s3-1","eventType":"performance_measured","streamId":"s3","version":1,"timestamp":620000,"correlationId":"r1","data":{"testId":"t9","testSuiteId":"late","performance":{"memory":7}},"metadata":{"project":"web"}}
{"eventId":"s3-2","eventType":"performance_measured","streamId":"s3","version":2,"timestamp":30000,"correlationId":"r1","data":{"testId":"t8","testSuiteId":"late","performance":{"memory":8}},"metadata":{"project":"web"}}
advance 640100
expect performance
- ["web","suite","e2e","10m",0,1,null,null,null,0,0,1.25,[]]
- withdrawn ["web","suite","unit","10m",2,1,200.5,301.056,301.056,100000000,100139008,0.5,["gc=3","heap=12.5"]]
- ["web","suite","unit","10s",1,1,50,50,49.92,1000,1004,null,[]]
- ["web","test","t1","10m",null,1,100,100,99.84,100000000,100139008,0.5,["gc=3","heap=12.5"]]
- ["web","test","t3","10s",null,1,50,50,49.92,1000,1004,null,[]]
advance 650000
expect performance
+ ["web","suite","late","10m",0,1,null,null,null,7,7,null,[]]
+ ["web","test","t9","10m",null,1,null,null,null,7,7,null,[]]
advance 1240000
expect performance
- ["web","suite","late","10m",0,1,null,null,null,7,7,null,[]]
- ["web","test","t9","10m",null,1,null,null,null,7,7,null,[]]
advance 1250000
expect performance

# A withdrawal of a test, or of one attempt of it, reaches what was measured of it, whether it comes before or after.
ingest
{"eventId":"s4-1","eventType":"performance_measured","streamId":"s4","version":1,"timestamp":1250500,"correlationId":"r4","data":{"testId":"t10","performance":{"memory":5},"attempt":1},"metadata":{"project":"web"}}
{"eventId":"s4-2","eventType":"performance_measured","streamId":"s4","version":2,"timestamp":1250500,"correlationId":"r4","data":{"testId":"t10","performance":{"memory":9},"attempt":2},"metadata":{"project":"web"}}
{"eventId":"s4-3","eventType":"performance_measured","streamId":"s4","version":3,"timestamp":1250500,"correlationId":"r4","data":{"testId":"t11","performance":{"memory":7}},"metadata":{"project":"web"}}
{"eventId":"s4-4","eventType":"result_withdrawn","streamId":"s4","version":4,"timestamp":1250500,"correlationId":"r4","data":{"testId":"t12"},"metadata":{"project":"web"}}
advance 1251000
expect performance
+ ["web","test","t10","10s",null,2,null,null,null,7,9,null,[]]
+ ["web","test","t11","10s",null,1,null,null,null,7,7,null,[]]
ingest
{"eventId":"s4-5","eventType":"result_withdrawn","streamId":"s4","version":5,"timestamp":1251500,"correlationId":"r4","data":{"testId":"t10","attempt":2},"metadata":{"project":"web"}}
{"eventId":"s4-6","eventType":"result_withdrawn","streamId":"s4","version":6,"timestamp":1251500,"correlationId":"r4","data":{"testId":"t11"},"metadata":{"project":"web"}}
{"eventId":"s4-7","eventType":"performance_measured","streamId":"s4","version":7,"timestamp":1251500,"correlationId":"r4","data":{"testId":"t12","performance":{"memory":3}},"metadata":{"project":"web"}}
{"eventId":"s4-8","eventType":"performance_measured","streamId":"s4","version":8,"timestamp":1251500,"correlationId":"r4","data":{"testId":"t10","performance":{"memory":11},"attempt":2},"metadata":{"project":"web"}}
{"eventId":"s4-9","eventType":"performance_measured","streamId":"s4","version":9,"timestamp":1251500,"correlationId":"r4","data":{"testId":"t10","performance":{"memory":13},"attempt":3},"metadata":{"project":"web"}}
advance 1252000
expect performance
- withdrawn ["web","test","t10","10s",null,2,null,null,null,7,9,null,[]]
+ ["web","test","t10","10s",null,2,null,null,null,9,13,null,[]]
- withdrawn ["web","test","t11","10s",null,1,null,null,null,7,7,null,[]]
