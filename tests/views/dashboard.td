# A rule tells of running runs in which a test fails.
say
{"project":"web","id":"fails","change":{"alert":{"view":"run_progress","filter":{"state":["running"]},"when":[{"column":"failed","is":">=","threshold":1}],"severity":"error","message":"{run}"}}}
advance 10
expect dashboard

# Two runs, a failure that passes when tried again, coverage of one of the runs. Rows move at whole seconds.
ingest
{"eventId":"s1-1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":200,"correlationId":"r1","data":{"testId":"a","attempt":1,"error":{"message":"boom"}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s1-2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":300,"correlationId":"r1","data":{"testId":"a","attempt":2},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s1-3","eventType":"coverage_updated","streamId":"s1","version":3,"timestamp":300,"correlationId":"r1","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-6","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s2-1","eventType":"test_failed","streamId":"s2","version":1,"timestamp":300,"correlationId":"r2","data":{"testId":"b","error":{"message":"bang"}},"metadata":{"project":"web","branch":"main"}}
advance 500
expect dashboard
advance 1000
expect dashboard

# The failure of the second run is taken back; with it goes its alert.
ingest
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":1300,"correlationId":"r2","data":{"testId":"b"},"metadata":{"project":"web","branch":"main"}}
advance 2000
expect dashboard

# Both end; a minute later nothing is in the shortest window but what is covered, and ten minutes later nothing fails.
ingest
{"eventId":"s1-4","eventType":"run_completed","streamId":"s1","version":4,"timestamp":2500,"correlationId":"r1","data":{},"metadata":{"project":"web","branch":"main"}}
{"eventId":"s2-3","eventType":"run_completed","streamId":"s2","version":3,"timestamp":2500,"correlationId":"r2","data":{},"metadata":{"project":"web","branch":"main"}}
advance 3000
expect dashboard
advance 62000
expect dashboard
advance 700000
expect dashboard

# The runs leave, and with them what is covered; the test stays flaky until 7 days have passed without a failure, and then nothing
# is said of the project any more.
advance 3605000
expect dashboard
advance 700000000
expect dashboard
