# Two shards run one suite: what they announce is added, and it is complete when both have ended it.
ingest
{"eventId":"s1-1","eventType":"test_suite_started","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","testSuiteName":"Unit tests","plannedTests":1},"metadata":{"project":"web"}}
{"eventId":"s2-1","eventType":"test_suite_started","streamId":"s2","version":1,"timestamp":900,"correlationId":"r1","data":{"testSuiteId":"unit","plannedTests":2},"metadata":{"project":"web"}}
advance 1000
expect suite_progress
+ ["web","r1","unit","Unit tests",3,0,0,0,0,0,0,0,0,"running",null]

ingest
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":1500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","duration":2.5},"metadata":{"project":"web"}}
{"eventId":"s2-2","eventType":"test_passed","streamId":"s2","version":2,"timestamp":1600,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit","duration":1},"metadata":{"project":"web"}}
advance 2000
expect suite_progress
- ["web","r1","unit","Unit tests",3,0,0,0,0,0,0,0,0,"running",null]
+ ["web","r1","unit","Unit tests",3,2,2,1,1,0,0,0,3.5,"running","passed"]

# A retry passes: the test is flaky, and the latest result is the one that ended last.
ingest
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":2500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","attempt":2,"duration":4},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"test_suite_completed","streamId":"s1","version":4,"timestamp":2600,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s2-3","eventType":"test_suite_completed","streamId":"s2","version":3,"timestamp":2700,"correlationId":"r1","data":{"testSuiteId":"unit"},"metadata":{"project":"web"}}
advance 3000
expect suite_progress
- ["web","r1","unit","Unit tests",3,2,2,1,1,0,0,0,3.5,"running","passed"]
+ ["web","r1","unit","Unit tests",3,2,2,2,0,0,0,1,5,"passed","passed"]

# The attempt that failed is taken back: the suite's row leaves as withdrawn, though a test ends in the same tick.
ingest
{"eventId":"s2-4","eventType":"test_passed","streamId":"s2","version":4,"timestamp":3200,"correlationId":"r1","data":{"testId":"c","testSuiteId":"unit"},"metadata":{"project":"web"}}
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":3500,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","attempt":1},"metadata":{"project":"web"}}
advance 4000
expect suite_progress
- withdrawn ["web","r1","unit","Unit tests",3,2,2,2,0,0,0,1,5,"passed","passed"]
+ ["web","r1","unit","Unit tests",3,3,3,3,0,0,0,0,5,"passed","passed"]

# Half a minute of silence ends the run, which changes no suite that is complete; an hour later its suites leave.
advance 35000
expect suite_progress

advance 3635000
expect suite_progress
- evicted ["web","r1","unit","Unit tests",3,3,3,3,0,0,0,0,5,"passed","passed"]
