# A rule tells of running runs in which a test fails.
say
{"project":"web","id":"fails","change":{"alert":{"view":"run_progress","filter":{"state":["running"]},"when":[{"column":"failed","is":">=","threshold":1}],"severity":"error","message":"{run}"}}}
advance 10
expect dashboard

# Two runs, and a failure that passes when tried again. Rows move at whole seconds.
ingest
{"eventId":"s1-1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":200,"correlationId":"r1","data":{"testId":"a","attempt":1,"error":{"message":"boom"}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s1-2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":300,"correlationId":"r1","data":{"testId":"a","attempt":2},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s2-1","eventType":"test_failed","streamId":"s2","version":1,"timestamp":300,"correlationId":"r2","data":{"testId":"b","error":{"message":"bang"}},"metadata":{"project":"web","branch":"main"}}
advance 500
expect dashboard
advance 1000
expect dashboard
+ ["web",2,0.05,33.333333,2,1,null,1]

# The failure of the second run is taken back, and with it its alert; of the first one it is told what it covers.
ingest
{"eventId":"s1-3","eventType":"coverage_updated","streamId":"s1","version":3,"timestamp":1300,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-6","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":1300,"correlationId":"r2","data":{"testId":"b"},"metadata":{"project":"web","branch":"main"}}
advance 2000
expect dashboard
+ ["web",2,0.033333,50,1,0,60,1]
- withdrawn ["web",2,0.05,33.333333,2,1,null,1]
