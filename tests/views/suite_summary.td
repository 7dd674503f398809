# What a suite came to within a second is told once, at its end.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":100,"correlationId":"r1","data":{"testSuiteId":"unit","testSuiteName":"Unit tests","plannedTests":2},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":200,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 500
expect suite_summary
ingest
{"eventId":"s1-3","eventType":"test_failed","streamId":"s1","version":3,"timestamp":600,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 750
expect suite_summary
advance 1000
expect suite_summary
+ ["web","r1","unit","Unit tests",2,2,"running","failed"]

# The failure is taken back.
ingest
{"eventId":"s1-4","eventType":"result_withdrawn","streamId":"s1","version":4,"timestamp":1300,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 1500
expect suite_summary
advance 2000
expect suite_summary
+ ["web","r1","unit","Unit tests",2,1,"running","passed"]
- withdrawn ["web","r1","unit","Unit tests",2,2,"running","failed"]
