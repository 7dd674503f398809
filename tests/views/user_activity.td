# Ann begins a run; rows move at whole seconds.
ingest
{"eventId":"s1-1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web","userId":"ann"}}
advance 950
expect user_activity
advance 1000
expect user_activity
+ ["web","ann",1,1,"r1",null,900]

# Bob's run ends at once; Ann's ends as well, failed.
ingest
{"eventId":"s2-1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":1500,"correlationId":"r2","data":{"testId":"a"},"metadata":{"project":"web","userId":"bob"}}
{"eventId":"s2-2","eventType":"run_completed","streamId":"s2","version":2,"timestamp":1500,"correlationId":"r2","data":{},"metadata":{"project":"web","userId":"bob"}}
{"eventId":"s1-2","eventType":"run_completed","streamId":"s1","version":2,"timestamp":1600,"correlationId":"r1","data":{},"metadata":{"project":"web","userId":"ann"}}
advance 2000
expect user_activity
+ ["web","ann",0,1,"r1","failed",1600]
- ["web","ann",1,1,"r1",null,900]
+ ["web","bob",0,1,"r2","passed",1500]

# Her failure is taken back.
ingest
{"eventId":"s1-3","eventType":"result_withdrawn","streamId":"s1","version":3,"timestamp":2500,"correlationId":"r1","data":{"testId":"a"},"metadata":{"project":"web","userId":"ann"}}
advance 3000
expect user_activity
- withdrawn ["web","ann",0,1,"r1","failed",1600]
+ ["web","ann",0,1,"r1","passed",2500]

# Her next run is under way when the first one leaves: what that was the last of stays.
ingest
{"eventId":"s3-1","eventType":"test_passed","streamId":"s3","version":1,"timestamp":3000000,"correlationId":"r3","data":{"testId":"a"},"metadata":{"project":"web","userId":"ann"}}
advance 3000000
expect user_activity
- ["web","ann",0,1,"r1","passed",2500]
+ ["web","ann",1,2,"r3","passed",3000000]
advance 3602000
expect user_activity

# It falls silent. A day begins, seven days pass.
advance 10200000
expect user_activity
+ ["web","ann",0,2,"r3","abandoned",3000000]
- ["web","ann",1,2,"r3","passed",3000000]
advance 86400000
expect user_activity
+ ["web","ann",0,0,"r3","abandoned",3000000]
- ["web","ann",0,2,"r3","abandoned",3000000]
+ ["web","bob",0,0,"r2","passed",1500]
- ["web","bob",0,1,"r2","passed",1500]
advance 604802000
expect user_activity
- evicted ["web","bob",0,0,"r2","passed",1500]
advance 607800000
expect user_activity
- evicted ["web","ann",0,0,"r3","abandoned",3000000]
