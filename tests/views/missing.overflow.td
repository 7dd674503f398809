# A project may hold 4 tests, 2 suites and 2 files: what ended first leaves first, and with nobody left to go, what is new is counted.
config
{"project_tests":4,"project_suites":2,"project_files":2}

# A run that has ended and two that go on: five tests; then the second one ends, and the third one goes on.
ingest
{"eventId":"first-1","eventType":"test_passed","streamId":"first","version":1,"timestamp":900,"correlationId":"first","data":{"testId":"a","testSuiteId":"s"},"metadata":{"project":"web"}}
{"eventId":"first-2","eventType":"test_passed","streamId":"first","version":2,"timestamp":900,"correlationId":"first","data":{"testId":"b","testSuiteId":"s"},"metadata":{"project":"web"}}
{"eventId":"first-3","eventType":"run_completed","streamId":"first","version":3,"timestamp":950,"correlationId":"first","data":{},"metadata":{"project":"web"}}
{"eventId":"second-1","eventType":"test_passed","streamId":"second","version":1,"timestamp":900,"correlationId":"second","data":{"testId":"a"},"metadata":{"project":"web"}}
{"eventId":"second-2","eventType":"test_failed","streamId":"second","version":2,"timestamp":900,"correlationId":"second","data":{"testId":"b"},"metadata":{"project":"web"}}
{"eventId":"third-1","eventType":"test_passed","streamId":"third","version":1,"timestamp":900,"correlationId":"third","data":{"testId":"a"},"metadata":{"project":"web"}}
advance 1000
ingest
{"eventId":"second-3","eventType":"run_completed","streamId":"second","version":3,"timestamp":1500,"correlationId":"second","data":{},"metadata":{"project":"web"}}
{"eventId":"third-2","eventType":"test_passed","streamId":"third","version":2,"timestamp":1500,"correlationId":"third","data":{"testId":"b"},"metadata":{"project":"web"}}
{"eventId":"third-3","eventType":"test_passed","streamId":"third","version":3,"timestamp":1500,"correlationId":"third","data":{"testId":"c"},"metadata":{"project":"web"}}
advance 1500

# At 1000 there are five, so the first one leaves at 2000; then there are five again, so the second one leaves at 3000.
advance 2990
expect run_progress
- evicted ["web","first","passed",null,null,null,null,null,2,2,2,0,0,0,0,900,950,1,1,null,null,null]
expect test_results
- evicted ["web","first","a","a","s","passed",null,1,false,null,900,null,null,null,null,"info",[],null,null]
- evicted ["web","first","b","b","s","passed",null,1,false,null,900,null,null,null,null,"info",[],null,null]
advance 3000
expect run_progress
- evicted ["web","second","failed",null,null,null,null,null,2,2,1,1,0,0,0,900,1500,1,1,null,null,null]
expect test_results
- evicted ["web","second","a","a",null,"passed",null,1,false,null,900,null,null,null,null,"info",[],null,null]
- evicted ["web","second","b","b",null,"failed","",1,false,null,900,"cd281805ce0e4343c34df285f77ac5a2",null,null,null,"error",[],null,null]

# The third one holds three; two more are one too many, and nobody is left to go.
ingest
{"eventId":"third-4","eventType":"test_passed","streamId":"third","version":4,"timestamp":3500,"correlationId":"third","data":{"testId":"d"},"metadata":{"project":"web"}}
{"eventId":"third-5","eventType":"test_passed","streamId":"third","version":5,"timestamp":3500,"correlationId":"third","data":{"testId":"e"},"metadata":{"project":"web"}}
advance 3500
advance 5000
expect run_progress
ingest
{"eventId":"third-6","eventType":"test_passed","streamId":"third","version":6,"timestamp":5500,"correlationId":"third","data":{"testId":"f","testSuiteId":"late"},"metadata":{"project":"web"}}
{"eventId":"third-7","eventType":"test_failed","streamId":"third","version":7,"timestamp":5500,"correlationId":"third","data":{"testId":"e"},"metadata":{"project":"web"}}
{"eventId":"third-8","eventType":"test_passed","streamId":"third","version":8,"timestamp":5500,"correlationId":"third","data":{"testId":"g"},"metadata":{"project":"web"}}
advance 5500
expect test_results
+ ["web","third","e","e",null,"failed","",1,false,null,5500,"cd281805ce0e4343c34df285f77ac5a2",null,null,null,"error",[],null,null]
- ["web","third","e","e",null,"passed",null,1,false,null,3500,null,null,null,null,"info",[],null,null]
expect missing
advance 6000
expect missing
+ ["web","third","overflow","tests",2,6000,null]

# Suites by their begins, and files with coverage, in the same way.
ingest
{"eventId":"third-9","eventType":"test_suite_started","streamId":"third","version":9,"timestamp":6100,"correlationId":"third","data":{"testSuiteId":"x"},"metadata":{"project":"web"}}
{"eventId":"third-10","eventType":"test_suite_started","streamId":"third","version":10,"timestamp":6100,"correlationId":"third","data":{"testSuiteId":"y"},"metadata":{"project":"web"}}
{"eventId":"third-11","eventType":"coverage_updated","streamId":"third","version":11,"timestamp":6100,"correlationId":"third","data":{"coverage":{"files":[{"path":"a.rs","covered":"1","instrumented":"1"},{"path":"b.rs","covered":"1","instrumented":"1"}]}},"metadata":{"project":"web"}}
advance 6100
advance 8000
ingest
{"eventId":"third-12","eventType":"test_suite_started","streamId":"third","version":12,"timestamp":8100,"correlationId":"third","data":{"testSuiteId":"z"},"metadata":{"project":"web"}}
{"eventId":"third-13","eventType":"test_suite_completed","streamId":"third","version":13,"timestamp":8100,"correlationId":"third","data":{"testSuiteId":"y"},"metadata":{"project":"web"}}
{"eventId":"third-14","eventType":"coverage_updated","streamId":"third","version":14,"timestamp":8100,"correlationId":"third","data":{"coverage":{"files":[{"path":"b.rs","covered":"2","instrumented":"2"},{"path":"c.rs","covered":"1","instrumented":"1"}]}},"metadata":{"project":"web"}}
advance 8100
advance 9000
expect suite_progress
+ ["web","third","y","y",null,0,0,0,0,0,0,0,0,"passed",null]
- ["web","third","y","y",null,0,0,0,0,0,0,0,0,"running",null]
expect coverage
- ["web","third","","b.rs",1,1,100,1]
+ ["web","third","","b.rs",2,2,100,1]
expect missing
+ ["web","third","overflow","files",1,9000,null]
+ ["web","third","overflow","suites",1,9000,null]

# Once it has ended it leaves, since it alone is too much, and takes all that with it; its events are late then, and
# there is room for others from the second on at which it leaves.
ingest
{"eventId":"third-15","eventType":"run_completed","streamId":"third","version":15,"timestamp":9100,"correlationId":"third","data":{},"metadata":{"project":"web"}}
advance 9100
advance 11000
expect run_progress
- evicted ["web","third","failed",null,null,null,null,null,5,5,4,1,0,0,0,900,9100,1,1,null,null,null]
expect missing
- evicted ["web","third","overflow","files",1,9000,null]
- evicted ["web","third","overflow","suites",1,9000,null]
- evicted ["web","third","overflow","tests",2,6000,null]
ingest
{"eventId":"third-16","eventType":"test_passed","streamId":"third","version":16,"timestamp":11100,"correlationId":"third","data":{"testId":"h"},"metadata":{"project":"web"}}
{"eventId":"fourth-1","eventType":"test_passed","streamId":"fourth","version":1,"timestamp":11100,"correlationId":"fourth","data":{"testId":"a"},"metadata":{"project":"web"}}
advance 11100
expect test_results
+ ["web","fourth","a","a",null,"passed",null,1,false,null,11100,null,null,null,null,"info",[],null,null]
advance 13000
expect rejects
+ ["web","late","",0,0,0,1,null,null,null]
