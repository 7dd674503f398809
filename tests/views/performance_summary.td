# What ended and was measured in 10 s is told at their end.
ingest
{"eventId":"s1-1","eventType":"test_passed","streamId":"s1","version":1,"timestamp":4000,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","duration":20},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"performance_measured","streamId":"s1","version":2,"timestamp":4000,"correlationId":"r1","data":{"testId":"a","testSuiteId":"unit","duration":21,"performance":{"memory":1000}},"metadata":{"project":"web"}}
advance 4500
expect performance_summary
advance 5000
expect performance
expect performance_summary
advance 10000
expect performance_summary

# The measurement is taken back.
ingest
{"eventId":"s1-3","eventType":"test_passed","streamId":"s1","version":3,"timestamp":11000,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit","duration":40},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"performance_measured","streamId":"s1","version":4,"timestamp":11500,"correlationId":"r1","data":{"testId":"b","testSuiteId":"unit","performance":{"memory":5000}},"metadata":{"project":"web"}}
advance 12000
expect performance_summary
ingest
{"eventId":"s1-5","eventType":"result_withdrawn","streamId":"s1","version":5,"timestamp":13000,"correlationId":"r1","data":{"withdraws":"s1-4"},"metadata":{"project":"web"}}
advance 13000
advance 20000
expect performance_summary

# All has left.
advance 40000
expect performance_summary
