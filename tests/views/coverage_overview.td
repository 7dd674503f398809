# Two flags of a run: what all of them cover is told every 5 s.
ingest
{"eventId":"s1-1","eventType":"coverage_updated","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-4","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"fix"}}
advance 1000
expect coverage_overview
ingest
{"eventId":"s2-1","eventType":"coverage_updated","streamId":"s2","version":1,"timestamp":2900,"correlationId":"r1","data":{"coverage":{"flag":"e2e","files":[{"path":"src/a.rs","covered":"4-7","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"fix"}}
advance 3000
expect coverage_overview
advance 5000
expect coverage_overview
+ ["web","r1",7,10,70,1,2,null,null,"fix"]

# One of them is taken back.
ingest
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":6000,"correlationId":"r1","data":{"withdraws":"s2-1"},"metadata":{"project":"web","branch":"fix"}}
advance 6000
expect coverage_overview
advance 10000
expect coverage_overview
+ ["web","r1",4,10,40,1,1,null,null,"fix"]
- withdrawn ["web","r1",7,10,70,1,2,null,null,"fix"]
