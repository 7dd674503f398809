# What a suite came to within a second is told once, at its end.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":100,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":3},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":200,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 250
expect suite_progress
expect suite_summary
ingest
{"eventId":"s1-3","eventType":"test_failed","streamId":"s1","version":3,"timestamp":300,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 500
expect suite_summary
advance 1000
expect suite_summary

# Another one begins; what comes and is taken back before the end of the second is nothing.
ingest
{"eventId":"s1-4","eventType":"test_case_started","streamId":"s1","version":4,"timestamp":1100,"correlationId":"r1","data":{"testId":"c","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":1100,"correlationId":"r1","data":{"testId":"d","testSuiteId":"ui"},"metadata":{"project":"web"}}
advance 1200
expect suite_summary
ingest
{"eventId":"s2-2","eventType":"result_withdrawn","streamId":"s2","version":2,"timestamp":1300,"correlationId":"r1","data":{"testId":"d"},"metadata":{"project":"web"}}
advance 2000
expect suite_summary

# The failure is taken back.
ingest
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":2300,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 3000
expect suite_summary

# The run ends, and leaves an hour later.
ingest
{"eventId":"s1-6","eventType":"run_completed","streamId":"s1","version":6,"timestamp":3100,"correlationId":"r1","data":{},"metadata":{"project":"web"}}
advance 4000
expect suite_summary
advance 3604000
expect suite_summary
