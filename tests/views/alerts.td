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
