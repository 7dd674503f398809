# Two flags of a run: what all of them cover is told every 5 s.
ingest
{"eventId":"s1-1","eventType":"coverage_updated","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-4","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"fix"}}
advance 1000
expect coverage_summary
expect coverage_overview
ingest
{"eventId":"s2-1","eventType":"coverage_updated","streamId":"s2","version":1,"timestamp":2900,"correlationId":"r1","data":{"coverage":{"flag":"e2e","files":[{"path":"src/a.rs","covered":"4-7","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"fix"}}
advance 3000
expect coverage_overview
advance 5000
expect coverage_overview

# One of them is taken back.
ingest
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":6000,"correlationId":"r1","data":{"withdraws":"s2-1"},"metadata":{"project":"web","branch":"fix"}}
advance 6000
expect coverage_overview
advance 10000
expect coverage_overview

# The run leaves.
ingest
{"eventId":"s1-2","eventType":"run_completed","streamId":"s1","version":2,"timestamp":10100,"correlationId":"r1","data":{},"metadata":{"project":"web","branch":"fix"}}
advance 11000
expect coverage_overview
advance 3615000
expect coverage_overview
