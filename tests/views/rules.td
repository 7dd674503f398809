# A worker was broken: what it said does not count, until the mark is taken back.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":2},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"s1-2","eventType":"test_case_started","streamId":"s1","version":2,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"s1-3","eventType":"test_failed","streamId":"s1","version":3,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","error":{"message":"no route to host"}},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web","worker":"w2"}}
advance 1000
expect test_results
+ ["web","r1","a","a","unit","failed","no route to host",1,false,null,900,"945a87491ffb9fb15850dcf2ce7abb57",null,null,null,"error",[],"w1",null]
+ ["web","r1","b","b","unit","passed",null,1,false,null,900,null,null,null,null,"info",[],"w2",null]

say
{"project":"web","id":"w1-network","change":{"incident":{"worker":"w1","note":"no network"}},"saidAt":1500,"saidBy":"ann"}
advance 2000
expect rules
+ ["web","incident","w1-network","{\"worker\":\"w1\",\"from\":null,\"to\":null,\"note\":\"no network\"}",1500,"ann",2000]
expect test_results
- withdrawn ["web","r1","a","a","unit","failed","no route to host",1,false,null,900,"945a87491ffb9fb15850dcf2ce7abb57",null,null,null,"error",[],"w1",null]
expect run_progress
+ ["web","r1","running",null,null,null,null,2,1,1,1,0,0,0,0,900,900,2,2,null,900,null]
- withdrawn ["web","r1","running",null,null,null,null,2,2,2,1,1,0,0,0,900,900,2,2,null,null,null]
expect live_metrics
+ ["web","project","web","10m",0.001667,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","10m",0.003333,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000278,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
- withdrawn ["web","project","web","1h",0.000556,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
+ ["web","project","web","60s",0.016667,100,0,null,null,null,null,null,0,0,2,1,null,null,null]
- withdrawn ["web","project","web","60s",0.033333,50,50,null,null,null,null,null,1,0,2,0,null,null,null]
+ ["web","suite","unit","10m",0.001667,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","10m",0.003333,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000278,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
- withdrawn ["web","suite","unit","1h",0.000556,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
+ ["web","suite","unit","60s",0.016667,100,0,null,null,null,null,null,0,0,null,null,null,null,null]
- withdrawn ["web","suite","unit","60s",0.033333,50,50,null,null,null,null,null,1,0,null,null,null,null,null]
expect failure_patterns
- withdrawn ["web","945a87491ffb9fb15850dcf2ce7abb57","no route to host","",1,1,1,"steady",1,1,0,1,false,["worker=w1"],900,900,"a","no route to host"]

say
{"project":"web","id":"w1-network","change":{"removed":"incident"},"saidAt":2500,"saidBy":"ann"}
advance 3000
expect rules
- ["web","incident","w1-network","{\"worker\":\"w1\",\"from\":null,\"to\":null,\"note\":\"no network\"}",1500,"ann",2000]
expect test_results
+ ["web","r1","a","a","unit","failed","no route to host",1,false,null,900,"945a87491ffb9fb15850dcf2ce7abb57",null,null,null,"error",[],"w1",null]
expect run_progress
- withdrawn ["web","r1","running",null,null,null,null,2,1,1,1,0,0,0,0,900,900,2,2,null,900,null]
+ ["web","r1","running",null,null,null,null,2,2,2,1,1,0,0,0,900,900,2,2,null,null,null]
expect live_metrics
- ["web","project","web","10m",0.001667,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
+ ["web","project","web","10m",0.003333,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
- ["web","project","web","1h",0.000278,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
+ ["web","project","web","1h",0.000556,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
- ["web","project","web","60s",0.016667,100,0,null,null,null,null,null,0,0,2,1,null,null,null]
+ ["web","project","web","60s",0.033333,50,50,null,null,null,null,null,1,0,2,0,null,null,null]
- ["web","suite","unit","10m",0.001667,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
+ ["web","suite","unit","10m",0.003333,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
- ["web","suite","unit","1h",0.000278,100,0,null,null,null,null,null,0,null,null,null,null,null,null]
+ ["web","suite","unit","1h",0.000556,50,50,null,null,null,null,null,1,null,null,null,null,null,null]
- ["web","suite","unit","60s",0.016667,100,0,null,null,null,null,null,0,0,null,null,null,null,null]
+ ["web","suite","unit","60s",0.033333,50,50,null,null,null,null,null,1,0,null,null,null,null,null]
expect failure_patterns
+ ["web","945a87491ffb9fb15850dcf2ce7abb57","no route to host","",1,1,1,"steady",1,1,0,1,false,["worker=w1"],900,900,"a","no route to host"]
