# Texts that differ in their numbers are one pattern.
ingest
{"eventId":"s1-1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a","error":{"message":"expected 200, got 503 after 12 ms","type":"HttpError"}},"metadata":{"project":"web"}}
{"eventId":"s1-2","eventType":"test_failed","streamId":"s1","version":2,"timestamp":950,"correlationId":"r1","data":{"testId":"b","error":{"message":"expected 200, got 500 after 7 ms","type":"HttpError"}},"metadata":{"project":"web"}}
{"eventId":"s1-3","eventType":"test_failed","streamId":"s1","version":3,"timestamp":960,"correlationId":"r1","data":{"testId":"c","error":{"message":"no route to host","type":"IOError"}},"metadata":{"project":"web"}}
advance 1000
expect failure_patterns
+ ["web","769fca2dbf736af26442ab0f5ee57228","no route to host","IOError",1,1,1,"steady",1,1,0,0,false,[],960,960,"c","no route to host"]
+ ["web","b93ee2b7170e1733c99cfc97208c628c","expected %, got % after %","HttpError",2,2,2,"steady",2,1,0,0,false,[],900,950,"a","expected 200, got 503 after 12 ms"]

ingest
{"eventId":"s1-4","eventType":"result_withdrawn","streamId":"s1","version":4,"timestamp":1900,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 2000
expect failure_patterns
+ ["web","b93ee2b7170e1733c99cfc97208c628c","expected %, got % after %","HttpError",1,1,1,"steady",1,1,0,0,false,[],900,900,"a","expected 200, got 503 after 12 ms"]
- withdrawn ["web","b93ee2b7170e1733c99cfc97208c628c","expected %, got % after %","HttpError",2,2,2,"steady",2,1,0,0,false,[],900,950,"a","expected 200, got 503 after 12 ms"]

# Ten minutes later they have left the count, and stay seen.
advance 620000
expect failure_patterns
+ ["web","769fca2dbf736af26442ab0f5ee57228","no route to host","IOError",0,1,1,"steady",1,1,0,0,false,[],960,960,"c","no route to host"]
- ["web","769fca2dbf736af26442ab0f5ee57228","no route to host","IOError",1,1,1,"steady",1,1,0,0,false,[],960,960,"c","no route to host"]
+ ["web","b93ee2b7170e1733c99cfc97208c628c","expected %, got % after %","HttpError",0,1,1,"steady",1,1,0,0,false,[],900,900,"a","expected 200, got 503 after 12 ms"]
- ["web","b93ee2b7170e1733c99cfc97208c628c","expected %, got % after %","HttpError",1,1,1,"steady",1,1,0,0,false,[],900,900,"a","expected 200, got 503 after 12 ms"]

# A mask of the project: from its tick on, whatever the host is called it is one pattern; what came before stays as it was.
say
{"project":"web","id":"hosts","change":{"mask":{"pattern":"host [a-z]+"}}}
ingest
{"eventId":"m1","eventType":"test_failed","streamId":"s7","version":1,"timestamp":629000,"data":{"testId":"e","error":{"message":"IOError: no route to host alpha"}},"metadata":{"project":"web"}}
{"eventId":"m2","eventType":"test_failed","streamId":"s7","version":2,"timestamp":629100,"data":{"testId":"f","error":{"message":"IOError: no route to host beta"}},"metadata":{"project":"web"}}
advance 630000
expect failure_patterns
+ ["web","4950318b7e0bf7df6e6d9fec9d608461","no route to %","IOError",2,2,2,"steady",2,1,0,0,false,[],629000,629100,"e","IOError: no route to host alpha"]
