# Two attempts fail; the first one is taken back.
ingest
{"eventId":"1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit","error":{"message":"expected 3","type":"AssertionError"}},"metadata":{"project":"web","worker":"w1","tags":["db"]}}
{"eventId":"2","eventType":"test_error","streamId":"s1","version":2,"timestamp":950,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit","attempt":2,"error":{"message":"no route to host"}},"metadata":{"project":"web","worker":"w1"}}
{"eventId":"1","eventType":"timeout_occurred","streamId":"s2","version":1,"timestamp":950,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web","worker":"w2","severity":"warning"}}
advance 1000
expect error_stream
+ ["web","s1","1",900,"error","failed","AssertionError","expected 3","8a2800fb41e3c896ded1a3bfe1fc042d","a","adds","unit","r1",1,null,null,null,"w1",["db"]]
+ ["web","s1","2",950,"error","error",null,"no route to host","945a87491ffb9fb15850dcf2ce7abb57","a","adds","unit","r1",2,null,null,null,"w1",[]]
+ ["web","s2","1",950,"warning","timeout",null,"","21d0cdc483646c992fe0d6036738689f","b","b",null,"r1",1,null,null,null,"w2",[]]
ingest
{"eventId":"3","eventType":"result_withdrawn","streamId":"s1","version":3,"timestamp":1200,"correlationId":"r1","data":{"withdraws":"1"},"metadata":{"project":"web"}}
advance 1300
expect error_stream
advance 1500
expect error_stream
- withdrawn ["web","s1","1",900,"error","failed","AssertionError","expected 3","8a2800fb41e3c896ded1a3bfe1fc042d","a","adds","unit","r1",1,null,null,null,"w1",["db"]]

# The worker was broken.
say
{"project":"web","id":"w2","change":{"incident":{"worker":"w2"}}}
advance 2000
expect error_stream
- withdrawn ["web","s2","1",950,"warning","timeout",null,"","21d0cdc483646c992fe0d6036738689f","b","b",null,"r1",1,null,null,null,"w2",[]]

# They go when they are old.
ingest
{"eventId":"4","eventType":"run_completed","streamId":"s1","version":4,"timestamp":2200,"correlationId":"r1","metadata":{"project":"web"}}
advance 3000
advance 608400000
expect error_stream
- evicted ["web","s1","2",950,"error","error",null,"no route to host","945a87491ffb9fb15850dcf2ce7abb57","a","adds","unit","r1",2,null,null,null,"w1",[]]

# A setup that failed is an error of the run itself; it leaves while its machine is said to be broken.
ingest
{"eventId":"setup","eventType":"setup_failed","streamId":"s9","version":1,"timestamp":608400900,"correlationId":"r9","data":{"error":{"message":"no space left on device","type":"IOError"}},"metadata":{"project":"web","worker":"w9"}}
advance 608401000
expect error_stream
+ ["web","s9","setup",608400900,"error","error","IOError","no space left on device","739b4be536e55f5153e6d23cd5c55234",null,null,null,"r9",null,null,null,null,"w9",[]]
expect run_progress
+ ["web","r9","running",null,null,null,null,null,0,0,0,0,0,0,0,608400900,608400900,1,1,null,null,null]
expect failure_patterns
+ ["web","739b4be536e55f5153e6d23cd5c55234","no space left on device","IOError",1,1,1,"steady",0,1,0,1,false,["worker=w9"],608400900,608400900,null,"no space left on device"]
say
{"project":"web","id":"disk","change":{"incident":{"worker":"w9"}}}
advance 608402000
expect error_stream
- withdrawn ["web","s9","setup",608400900,"error","error","IOError","no space left on device","739b4be536e55f5153e6d23cd5c55234",null,null,null,"r9",null,null,null,null,"w9",[]]
expect failure_patterns
- withdrawn ["web","739b4be536e55f5153e6d23cd5c55234","no space left on device","IOError",1,1,1,"steady",0,1,0,1,false,["worker=w9"],608400900,608400900,null,"no space left on device"]
