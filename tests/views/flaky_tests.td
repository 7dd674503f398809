# A test fails and passes in one run; another one fails. Tests that only pass are not seen.
ingest
{"eventId":"1","eventType":"test_failed","streamId":"s1","version":1,"timestamp":900,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit"},"metadata":{"project":"web","branch":"main","commit":"c1","worker":"w1"}}
{"eventId":"2","eventType":"test_passed","streamId":"s1","version":2,"timestamp":950,"correlationId":"r1","data":{"testId":"a","testName":"adds","testSuiteId":"unit","attempt":2},"metadata":{"project":"web","branch":"main","commit":"c1","worker":"w1"}}
{"eventId":"3","eventType":"test_failed","streamId":"s1","version":3,"timestamp":960,"correlationId":"r1","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","commit":"c1"}}
{"eventId":"4","eventType":"test_passed","streamId":"s1","version":4,"timestamp":970,"correlationId":"r1","data":{"testId":"c"},"metadata":{"project":"web","branch":"main","commit":"c1"}}
advance 1000
expect flaky_tests
+ ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]
+ ["web","b","main","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]

# On another commit the second one passes: one flip is not enough, and the commit is another. Branches stand apart.
ingest
{"eventId":"1","eventType":"test_passed","streamId":"s2","version":1,"timestamp":1100,"correlationId":"r2","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","commit":"c2"}}
{"eventId":"2","eventType":"test_failed","streamId":"s2","version":2,"timestamp":1100,"correlationId":"r2 side","data":{"testId":"b"},"metadata":{"project":"web","branch":"side","commit":"c3"}}
advance 1500
expect flaky_tests
advance 2000
expect flaky_tests
- ["web","b","main","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","b","main","b",null,"healthy",null,null,1,2,50,null,[],null,null,null,null]
+ ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]

# It fails on that commit, too: both outcomes on one commit.
ingest
{"eventId":"1","eventType":"test_failed","streamId":"s3","version":1,"timestamp":2100,"correlationId":"r3","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","commit":"c2"}}
advance 3000
expect flaky_tests
+ ["web","b","main","b",null,"flaky","commit",2100,2,3,66.666667,2100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],10,604802100,null,null]
- ["web","b","main","b",null,"healthy",null,null,1,2,50,null,[],null,null,null,null]

# A rule for which two failures in a row are enough, and one pass clears.
say
{"project":"web","id":"strict","change":{"flaky":{"broken":2,"passes":1}}}
ingest
{"eventId":"2","eventType":"test_failed","streamId":"s3","version":2,"timestamp":3100,"correlationId":"r4","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","commit":"c4"}}
advance 4000
expect flaky_tests
+ ["web","a","main","adds","unit","fixed","passes",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],null,null,"strict",4000]
- ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]
+ ["web","b","main","b",null,"broken","failures",3100,2,4,75,2100,["{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}","{\"run\":\"r4\",\"attempt\":1,\"outcome\":\"failed\",\"at\":3100,\"commit\":\"c4\"}"],1,604803100,"strict",4000]
- ["web","b","main","b",null,"flaky","commit",2100,2,3,66.666667,2100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],10,604802100,null,null]
+ ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,"strict",4000]
- ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
ingest
{"eventId":"3","eventType":"test_passed","streamId":"s3","version":3,"timestamp":4100,"correlationId":"r5","data":{"testId":"b"},"metadata":{"project":"web","branch":"main","commit":"c5"}}
advance 5000
expect flaky_tests
- ["web","b","main","b",null,"broken","failures",3100,2,4,75,2100,["{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}","{\"run\":\"r4\",\"attempt\":1,\"outcome\":\"failed\",\"at\":3100,\"commit\":\"c4\"}"],1,604803100,"strict",4000]
+ ["web","b","main","b",null,"fixed","passes",4100,3,5,60,2100,["{\"run\":\"r5\",\"attempt\":1,\"outcome\":\"passed\",\"at\":4100,\"commit\":\"c5\"}"],null,null,"strict",4000]
say
{"project":"web","id":"strict","change":{"removed":"flaky"}}
advance 6000
expect flaky_tests
- ["web","a","main","adds","unit","fixed","passes",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],null,null,"strict",4000]
+ ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]
- ["web","b","main","b",null,"fixed","passes",4100,3,5,60,2100,["{\"run\":\"r5\",\"attempt\":1,\"outcome\":\"passed\",\"at\":4100,\"commit\":\"c5\"}"],null,null,"strict",4000]
+ ["web","b","main","b",null,"flaky","commit",2100,3,5,60,4100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],9,604803100,null,null]
- ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,"strict",4000]
+ ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]

# The machine of the first one was broken; then it was not.
say
{"project":"web","id":"w1","change":{"incident":{"worker":"w1"}}}
advance 7000
expect flaky_tests
- withdrawn ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]
say
{"project":"web","id":"w1","change":{"removed":"incident"}}
advance 8000
expect flaky_tests
+ ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]

# The last failure is taken back.
ingest
{"eventId":"4","eventType":"result_withdrawn","streamId":"s3","version":4,"timestamp":8100,"correlationId":"r4","data":{"testId":"b"},"metadata":{"project":"web"}}
advance 9000
expect flaky_tests
+ ["web","b","main","b",null,"flaky","commit",2100,3,4,50,4100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],9,604802100,null,null]
- withdrawn ["web","b","main","b",null,"flaky","commit",2100,3,5,60,4100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],9,604803100,null,null]

# A machine on which all five tests of a run fail says nothing of them, though they pass elsewhere.
ingest
{"eventId":"1","eventType":"test_failed","streamId":"s5","version":1,"timestamp":9100,"correlationId":"r6","data":{"testId":"t1"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"bad"}}
{"eventId":"2","eventType":"test_failed","streamId":"s5","version":2,"timestamp":9100,"correlationId":"r6","data":{"testId":"t2"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"bad"}}
{"eventId":"3","eventType":"test_failed","streamId":"s5","version":3,"timestamp":9100,"correlationId":"r6","data":{"testId":"t3"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"bad"}}
{"eventId":"4","eventType":"test_failed","streamId":"s5","version":4,"timestamp":9100,"correlationId":"r6","data":{"testId":"t4"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"bad"}}
{"eventId":"1","eventType":"test_passed","streamId":"s6","version":1,"timestamp":9200,"correlationId":"r6","data":{"testId":"t1","attempt":2},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"good"}}
{"eventId":"2","eventType":"test_passed","streamId":"s6","version":2,"timestamp":9200,"correlationId":"r6","data":{"testId":"t9"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"good"}}
advance 10000
expect flaky_tests
+ ["web","t1","main","t1",null,"flaky","retry",9200,1,2,50,9200,["{\"run\":\"r6\",\"attempt\":1,\"outcome\":\"failed\",\"at\":9100,\"commit\":\"c6\",\"worker\":\"bad\"}","{\"run\":\"r6\",\"attempt\":2,\"outcome\":\"passed\",\"at\":9200,\"commit\":\"c6\",\"worker\":\"good\"}"],9,604809100,null,null]
+ ["web","t2","main","t2",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","t3","main","t3",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","t4","main","t4",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
ingest
{"eventId":"5","eventType":"test_failed","streamId":"s5","version":5,"timestamp":10100,"correlationId":"r6","data":{"testId":"t5"},"metadata":{"project":"web","branch":"main","commit":"c6","worker":"bad"}}
advance 11000
expect flaky_tests
- ["web","t1","main","t1",null,"flaky","retry",9200,1,2,50,9200,["{\"run\":\"r6\",\"attempt\":1,\"outcome\":\"failed\",\"at\":9100,\"commit\":\"c6\",\"worker\":\"bad\"}","{\"run\":\"r6\",\"attempt\":2,\"outcome\":\"passed\",\"at\":9200,\"commit\":\"c6\",\"worker\":\"good\"}"],9,604809100,null,null]
+ ["web","t1","main","t1",null,"healthy",null,null,0,1,0,null,[],null,null,null,null]
+ ["web","t2","main","t2",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- ["web","t2","main","t2",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","t3","main","t3",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- ["web","t3","main","t3",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","t4","main","t4",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- ["web","t4","main","t4",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
+ ["web","t5","main","t5",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]

# Seven days without a failure.
advance 604802100
expect flaky_tests
+ ["web","a","main","adds","unit","fixed","days",604800900,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}"],null,null,null,null]
- ["web","a","main","adds","unit","flaky","retry",950,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}","{\"run\":\"r1\",\"attempt\":2,\"outcome\":\"passed\",\"at\":950,\"commit\":\"c1\",\"worker\":\"w1\"}"],9,604800900,null,null]
advance 604803000
expect flaky_tests
+ ["web","b","main","b",null,"fixed","days",604802100,3,4,50,4100,["{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],null,null,null,null]
- ["web","b","main","b",null,"flaky","commit",2100,3,4,50,4100,["{\"run\":\"r2\",\"attempt\":1,\"outcome\":\"passed\",\"at\":1100,\"commit\":\"c2\"}","{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],9,604802100,null,null]

# Thirty days after the last failure they are forgotten, at a whole hour.
advance 2595600000
expect flaky_tests
- evicted ["web","a","main","adds","unit","fixed","days",604800900,1,2,50,950,["{\"run\":\"r1\",\"attempt\":1,\"outcome\":\"failed\",\"at\":900,\"commit\":\"c1\",\"worker\":\"w1\"}"],null,null,null,null]
- evicted ["web","b","main","b",null,"fixed","days",604802100,3,4,50,4100,["{\"run\":\"r3\",\"attempt\":1,\"outcome\":\"failed\",\"at\":2100,\"commit\":\"c2\"}"],null,null,null,null]
- evicted ["web","b","side","b",null,"healthy",null,null,0,1,100,null,[],null,null,null,null]
- evicted ["web","t1","main","t1",null,"healthy",null,null,0,1,0,null,[],null,null,null,null]
- evicted ["web","t2","main","t2",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- evicted ["web","t3","main","t3",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- evicted ["web","t4","main","t4",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
- evicted ["web","t5","main","t5",null,"healthy",null,null,0,0,null,null,[],null,null,null,null]
