# A test fails, passes on its second attempt, and is flaky.
ingest
{"eventId":"s1-1","eventType":"test_case_started","streamId":"s1","version":1,"timestamp":100,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 1000
expect test_results
+ ["web","r1","a","adds","unit","running",null,1,false,null,null,null,"pytest",null,"main","info",["db"],"w7",null]

ingest
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","duration":0.25,"error":{"message":"expected 3, got 4","type":"AssertionError"}},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 2000
expect test_results
+ ["web","r1","a","adds","unit","failed","expected 3, got 4",1,false,0.25,1500,"93f9c909bec0bbf3ad2b75e59f2b463f","pytest",null,"main","error",["db"],"w7",null]
- ["web","r1","a","adds","unit","running",null,1,false,null,null,null,"pytest",null,"main","info",["db"],"w7",null]

ingest
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":2500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","attempt":2,"duration":0.5},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 3000
expect test_results
- ["web","r1","a","adds","unit","failed","expected 3, got 4",1,false,0.25,1500,"93f9c909bec0bbf3ad2b75e59f2b463f","pytest",null,"main","error",["db"],"w7",null]
+ ["web","r1","a","adds","unit","passed",null,2,true,0.5,2500,null,"pytest",null,"main","info",["db"],"w7",null]

# The second attempt is taken back by its event: the failure stands again.
ingest
{"eventId":"s1-4","eventType":"result_withdrawn","streamId":"s1","version":4,"timestamp":3500,"correlationId":"r1","data":{"withdraws":"s1-3"},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 4000
expect test_results
+ ["web","r1","a","adds","unit","failed","expected 3, got 4",1,false,0.25,1500,"93f9c909bec0bbf3ad2b75e59f2b463f","pytest",null,"main","error",["db"],"w7",null]
- withdrawn ["web","r1","a","adds","unit","passed",null,2,true,0.5,2500,null,"pytest",null,"main","info",["db"],"w7",null]

# All attempts are taken back, before and after they come: only its begin is left of them, and that goes with the first.
ingest
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":4500,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 5000
expect test_results
- withdrawn ["web","r1","a","adds","unit","failed","expected 3, got 4",1,false,0.25,1500,"93f9c909bec0bbf3ad2b75e59f2b463f","pytest",null,"main","error",["db"],"w7",null]

ingest
{"eventId":"s1-6","eventType":"test_failed","streamId":"s1","version":6,"timestamp":5500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","attempt":3},"metadata":{"project":"web","branch":"main","worker":"w7","tags":["db"],"framework":"pytest"}}
advance 6000
expect test_results
