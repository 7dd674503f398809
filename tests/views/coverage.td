# Two shards cover the same file; then one of them is taken back.
ingest
{"eventId":"s1-1","eventType":"coverage_updated","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-4","instrumented":"1-10"},{"path":"src/b.rs","covered":"","instrumented":"1-4"}]}},"metadata":{"project":"web"}}
{"eventId":"s2-1","eventType":"coverage_updated","streamId":"s2","version":1,"timestamp":900,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"4-6,11","instrumented":"1-10"}]}},"metadata":{"project":"web"}}
advance 900
expect coverage
advance 1000
expect coverage
+ ["web","r1","","src/a.rs",7,11,63.636364,2]
+ ["web","r1","","src/b.rs",0,4,0,1]
ingest
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":1200,"correlationId":"r1","data":{"withdraws":"s2-1"},"metadata":{"project":"web"}}
advance 2000
expect coverage
+ ["web","r1","","src/a.rs",4,10,40,1]
- withdrawn ["web","r1","","src/a.rs",7,11,63.636364,2]

# The first shard starts over.
ingest
{"eventId":"s1-2","eventType":"coverage_updated","streamId":"s1","version":2,"timestamp":2200,"correlationId":"r1","data":{"coverage":{"mode":"replace","files":[{"path":"src/a.rs","covered":"9","instrumented":"1-10"}]}},"metadata":{"project":"web"}}
advance 3000
expect coverage
+ ["web","r1","","src/a.rs",1,10,10,1]
- ["web","r1","","src/a.rs",4,10,40,1]
- ["web","r1","","src/b.rs",0,4,0,1]

# And the run leaves an hour after it was over.
ingest
{"eventId":"s1-3","eventType":"run_completed","streamId":"s1","version":3,"timestamp":3200,"correlationId":"r1","metadata":{"project":"web"}}
advance 3500
advance 3610000
expect coverage
- evicted ["web","r1","","src/a.rs",1,10,10,1]
