# A rule: a run in which something failed for a second, until at most none does.
say
{"project":"web","id":"failing","change":{"alert":{"view":"run_progress","when":[{"column":"failed","is":">=","threshold":1}],"forMs":1000,"severity":"error","message":"{run} ({branch}): {value} failed, {state}"}}}
ingest
{"eventId":"s1-1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web"}}
{"eventId":"s2-1","eventType":"test_failed","streamId":"s2","version":1,"timestamp":900,"correlationId":"r2","data":{"testId":"a"},"metadata":{"project":"app"}}
advance 1000
expect alerts
advance 1990
expect alerts
advance 2000
expect alerts
+ ["web","failing","r1","run_progress","error",1,1,2000,"r1 (–): 1 failed, running"]

# The row stands as it was when it fired, whatever becomes of the run.
ingest
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":2100,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 2500
expect alerts

# What it rested on is taken back.
ingest
{"eventId":"s1-3","eventType":"result_withdrawn","streamId":"s1","version":3,"timestamp":2600,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web"}}
{"eventId":"s1-4","eventType":"result_withdrawn","streamId":"s1","version":4,"timestamp":2600,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 3000
expect alerts
- withdrawn ["web","failing","r1","run_progress","error",1,1,2000,"r1 (–): 1 failed, running"]

# Ages: a run that was heard of less than 4 s ago, told until 6 s. The rule is of all projects.
say
{"project":"","id":"heard","change":{"alert":{"view":"run_progress","when":[{"column":"last_event_at","is":"<","threshold":4}],"clear":6,"severity":"info","message":"{value} s, since {last_event_at}"}}}
advance 3100
expect alerts
+ ["app","heard","r2","run_progress","info",2.2,4,3100,"2.2 s, since 1970-01-01T00:00:00.9Z"]
+ ["web","heard","r1","run_progress","info",0.5,4,3100,"0.5 s, since 1970-01-01T00:00:02.6Z"]
advance 8590
expect alerts
- ["app","heard","r2","run_progress","info",2.2,4,3100,"2.2 s, since 1970-01-01T00:00:00.9Z"]
advance 8600
expect alerts
- ["web","heard","r1","run_progress","info",0.5,4,3100,"0.5 s, since 1970-01-01T00:00:02.6Z"]

# A project's own rule of that id holds instead; one that is disabled never fires.
say
{"project":"web","id":"heard","change":{"alert":{"view":"live_metrics","filter":{"scope":["project"],"window":["10m","1h"]},"when":[{"column":"tests_per_second","is":">=","threshold":0}],"severity":"info","message":"at least {threshold}"}}}
ingest
{"eventId":"s1-5","eventType":"test_passed","streamId":"s1","version":5,"timestamp":8700,"correlationId":"r1","data":{"testId":"c"},"metadata":{"project":"web"}}
{"eventId":"s2-2","eventType":"test_passed","streamId":"s2","version":2,"timestamp":8700,"correlationId":"r2","data":{"testId":"c"},"metadata":{"project":"app"}}
advance 9000
expect alerts
+ ["app","heard","r2","run_progress","info",0.3,4,9000,"0.3 s, since 1970-01-01T00:00:08.7Z"]
+ ["web","heard","project · web · 10m","live_metrics","info",0.001667,0,9000,"at least 0"]
+ ["web","heard","project · web · 1h","live_metrics","info",0.000278,0,9000,"at least 0"]
say
{"project":"web","id":"heard","change":{"alert":{"view":"run_progress","when":[{"column":"failed","is":">=","threshold":0}],"severity":"info","message":"","disabled":true}}}
advance 10000
expect alerts
- ["web","heard","project · web · 10m","live_metrics","info",0.001667,0,9000,"at least 0"]
- ["web","heard","project · web · 1h","live_metrics","info",0.000278,0,9000,"at least 0"]
say
{"project":"web","id":"heard","change":{"removed":"alert"}}
advance 11000
expect alerts
+ ["web","heard","r1","run_progress","info",2.3,4,11000,"2.3 s, since 1970-01-01T00:00:08.7Z"]

# Built in: the rates of the last minutes, and runs that are silent, for a while.
advance 69000
expect alerts
+ ["app","builtin:error-rate","project · app · 10m","live_metrics","warning",50,5,61000,"app: 50 % of the tests of the last ten minutes failed"]
- ["app","heard","r2","run_progress","info",0.3,4,9000,"0.3 s, since 1970-01-01T00:00:08.7Z"]
- ["web","heard","r1","run_progress","info",2.3,4,11000,"2.3 s, since 1970-01-01T00:00:08.7Z"]
advance 650000
expect alerts
- ["app","builtin:error-rate","project · app · 10m","live_metrics","warning",50,5,61000,"app: 50 % of the tests of the last ten minutes failed"]
+ ["app","builtin:silent-run","r2","run_progress","warning",630,600,638700,"run r2 has been silent for 630 s"]
+ ["web","builtin:silent-run","r1","run_progress","warning",630,600,638700,"run r1 has been silent for 630 s"]

# A run that ends is no longer silent; one that leaves takes its alerts along.
say
{"project":"app","id":"failing","change":{"alert":{"view":"run_progress","when":[{"column":"failed","is":">=","threshold":1}],"severity":"error","message":"{run} {can_still_pass}"}}}
advance 7300000
expect alerts
- ["app","builtin:silent-run","r2","run_progress","warning",630,600,638700,"run r2 has been silent for 630 s"]
+ ["app","failing","r2","run_progress","error",1,1,7300000,"r2 –"]
- ["web","builtin:silent-run","r1","run_progress","warning",630,600,638700,"run r1 has been silent for 630 s"]
advance 10900000
expect alerts
- evicted ["app","failing","r2","run_progress","error",1,1,7300000,"r2 –"]

# A run that covers less than the main branch is told of once it is over and all have reported, not while it still reports.
ingest
{"eventId":"m-1","eventType":"coverage_updated","streamId":"m","version":1,"timestamp":10900900,"correlationId":"m","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-8","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"main"}}
{"eventId":"m-2","eventType":"run_completed","streamId":"m","version":2,"timestamp":10900900,"correlationId":"m","data":{},"metadata":{"project":"web","branch":"main"}}
advance 10901000
ingest
{"eventId":"f-1","eventType":"test_case_started","streamId":"f","version":1,"timestamp":10901900,"correlationId":"f","data":{"testId":"t","plannedShards":1},"metadata":{"project":"web","branch":"fix"}}
{"eventId":"f-2","eventType":"coverage_updated","streamId":"f","version":2,"timestamp":10901900,"correlationId":"f","data":{"coverage":{"files":[{"path":"src/a.rs","covered":"1-4","instrumented":"1-10"}]}},"metadata":{"project":"web","branch":"fix"}}
advance 10902000
advance 10970000
expect alerts
- ["web","heard","f","run_progress","info",0.1,4,10902000,"0.1 s, since 1970-01-01T03:01:41.9Z"]
- ["web","heard","m","run_progress","info",0.1,4,10901000,"0.1 s, since 1970-01-01T03:01:40.9Z"]
ingest
{"eventId":"f-3","eventType":"run_completed","streamId":"f","version":3,"timestamp":10970100,"correlationId":"f","data":{},"metadata":{"project":"web","branch":"fix"}}
advance 10970500
advance 11032000
expect alerts
+ ["web","builtin:coverage-drop","f · *","coverage_summary","warning",-40,-1,11031000,"run f covers 40 % of the lines, -40 points against main"]
- ["web","heard","f","run_progress","info",0.4,4,10970500,"0.4 s, since 1970-01-01T03:02:50.1Z"]

# Rules can look at flaky and at slow tests, too.
say
{"project":"web","id":"flaking","change":{"alert":{"view":"flaky_tests","filter":{"state":["flaky"]},"when":[{"column":"flips","is":">=","threshold":1}],"severity":"warning","message":"{test} on {branch}: {reason}"}}}
{"project":"web","id":"slow","change":{"alert":{"view":"slow_tests","when":[{"column":"p50","is":">","threshold":1500}],"severity":"info","message":"{test}: {p50} ms"}}}
ingest
{"eventId":"n-1","eventType":"test_failed","streamId":"n","version":1,"timestamp":11032100,"correlationId":"n","data":{"testId":"t","attempt":1,"duration":2000},"metadata":{"project":"web","branch":"main"}}
{"eventId":"n-2","eventType":"test_passed","streamId":"n","version":2,"timestamp":11032200,"correlationId":"n","data":{"testId":"t","attempt":2,"duration":2000},"metadata":{"project":"web","branch":"main"}}
advance 11032500
advance 11040000
expect alerts
+ ["web","flaking","t · main","flaky_tests","warning",1,1,11033000,"t on main: retry"]
- ["web","heard","n","run_progress","info",0.3,4,11032500,"0.3 s, since 1970-01-01T03:03:52.2Z"]
+ ["web","slow","t","slow_tests","info",2007.04,1500,11040000,"t: 2007.04 ms"]
ingest
{"eventId":"n-3","eventType":"result_withdrawn","streamId":"n","version":3,"timestamp":11040100,"correlationId":"n","data":{"testId":"t"},"metadata":{"project":"web","branch":"main"}}
advance 11040500
advance 11050000
expect alerts
- withdrawn ["web","flaking","t · main","flaky_tests","warning",1,1,11033000,"t on main: retry"]
- ["web","heard","n","run_progress","info",0.4,4,11040500,"0.4 s, since 1970-01-01T03:04:00.1Z"]
- withdrawn ["web","slow","t","slow_tests","info",2007.04,1500,11040000,"t: 2007.04 ms"]
