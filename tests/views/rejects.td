# A duplicate is counted; a taken version is a row with the version that was expected.
ingest
{"eventId":"s1-1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web"}}
{"eventId":"s1-1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_passed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 1000
expect rejects
+ ["web","conflict","weir.events",0,2,0,1,"version 1 of the stream is taken or behind; 2 is expected","s1",1000]
+ ["web","duplicate","",0,0,0,1,null,null,null]

# A result that is older than an hour is late for every window, and counts in its run all the same.
ingest
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":900,"correlationId":"r2","data":{"testId":"a"},"metadata":{"project":"web"}}
advance 3660000
expect rejects
+ ["web","late","",0,0,0,1,null,null,null]
