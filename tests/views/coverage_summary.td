# A run of the main branch: what later runs are compared with.
ingest
{"eventId":"m-1","eventType":"coverage_updated","streamId":"m","version":1,"timestamp":900,"correlationId":"r0","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-8","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"m-2","eventType":"run_completed","streamId":"m","version":2,"timestamp":900,"correlationId":"r0","metadata":{"project":"web","branch":"main"}}
advance 1000
expect coverage_summary
+ ["web","r0","",8,10,80,1,1,null,false,null,null,"main","finished",true]
+ ["web","r0","*",8,10,80,1,1,null,false,null,null,"main","finished",true]

# A run of another branch, of which two of three shards report.
ingest
{"eventId":"s0-1","eventType":"run_started","streamId":"s0","version":1,"timestamp":1200,"correlationId":"r1","data":{"plannedShards":3},"metadata":{"project":"web","branch":"fix"}}
{"eventId":"s1-1","eventType":"coverage_updated","streamId":"s1","version":1,"timestamp":1900,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-4","instrumented":"1-10"}]}},"metadata":{"project":"web"}}
advance 2000
expect coverage_summary
+ ["web","r1","",4,10,40,1,1,3,false,-40,"main","fix","running",false]
+ ["web","r1","*",4,10,40,1,1,3,false,-40,"main","fix","running",false]
ingest
{"eventId":"s2-1","eventType":"coverage_updated","streamId":"s2","version":1,"timestamp":2900,"correlationId":"r1","data":{"coverage":{"flag":"e2e","files":[{"path":"src/a.rs","covered":"4-7","instrumented":"1-10"}]}},"metadata":{"project":"web"}}
advance 3000
expect coverage_summary
- ["web","r1","*",4,10,40,1,1,3,false,-40,"main","fix","running",false]
+ ["web","r1","*",7,10,70,1,2,3,false,-10,"main","fix","running",false]
+ ["web","r1","e2e",4,10,40,1,1,3,false,null,null,"fix","running",false]

# A bare percentage is kept as such, and is marked.
ingest
{"eventId":"s3-1","eventType":"coverage_updated","streamId":"s3","version":1,"timestamp":3900,"correlationId":"r1","data":{"coverage":{"flag":"manual","percentage":12.5}},"metadata":{"project":"web"}}
advance 4000
expect coverage_summary
- ["web","r1","*",7,10,70,1,2,3,false,-10,"main","fix","running",false]
+ ["web","r1","*",7,10,70,1,3,3,true,-10,"main","fix","running",false]
+ ["web","r1","manual",0,0,12.5,0,1,3,true,null,null,"fix","running",false]

# The run is over: under all flags together all three shards have reported, under one of them they have not.
ingest
{"eventId":"s0-2","eventType":"run_completed","streamId":"s0","version":2,"timestamp":4900,"correlationId":"r1","metadata":{"project":"web","branch":"fix"}}
advance 5000
expect coverage_summary
+ ["web","r1","",4,10,40,1,1,3,false,-40,"main","fix","finished",false]
- ["web","r1","",4,10,40,1,1,3,false,-40,"main","fix","running",false]
+ ["web","r1","*",7,10,70,1,3,3,true,-10,"main","fix","finished",true]
- ["web","r1","*",7,10,70,1,3,3,true,-10,"main","fix","running",false]
+ ["web","r1","e2e",4,10,40,1,1,3,false,null,null,"fix","finished",false]
- ["web","r1","e2e",4,10,40,1,1,3,false,null,null,"fix","running",false]
+ ["web","r1","manual",0,0,12.5,0,1,3,true,null,null,"fix","finished",false]
- ["web","r1","manual",0,0,12.5,0,1,3,true,null,null,"fix","running",false]
