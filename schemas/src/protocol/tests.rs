//! Tests of `protocol`.

use super::*;

fn rejected(text: &str) -> InvalidMessage {
    ClientMessage::parse(text).expect_err(text)
}

#[test]
fn what_is_written_is_read() {
    for text in [
        r#"{"type":"hello","v":1,"token":"t","caps":["patch"],"resume":[{"subscriptionId":"s","channel":"c","since":{"epoch":"e","time":7}}]}"#,
        r#"{"type":"subscribe","subscriptionId":"s","channel":"c","filters":{"run":["a","b"]},"options":{"format":"array"}}"#,
        r#"{"type":"unsubscribe","subscriptionId":"s"}"#,
        r#"{"type":"ping","id":7}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"auth","token":"t"}"#,
    ] {
        let message = ClientMessage::parse(text).expect(text);
        assert_eq!(serde_json::to_string(&message).ok().as_deref(), Some(text));
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert!(rejected("[]").problem.contains("not a JSON object"));
    assert!(rejected("{}").problem.contains("type is missing"));
    assert!(rejected(r#"{"type":"shout"}"#).problem.contains("\"shout\""));
    let error = rejected(r#"{"type":"subscribe","subscriptionId":"s1","channel":"c","filter":{}}"#);
    assert!(error.problem.contains("unknown field `filter`"), "{error}");
    assert_eq!(error.subscription_id.as_deref(), Some("s1"));
    assert!(rejected(r#"{"type":"subscribe","channel":"c"}"#).problem.contains("subscriptionId"));
}

#[test]
fn server_messages_survive_the_wire() {
    let text = r#"{"type":"batch","sequence":42,"timestamp":1,"epoch":"e","group":1,"from":1210,"time":1216,"net":false,"messages":[{"subscription":"c:f","view":"v","up":[["web",1.5]],"del":[["x"]]}]}"#;
    let message: ServerMessage = serde_json::from_str(text).expect("parses");
    assert_eq!(serde_json::to_string(&message).ok().as_deref(), Some(text));
    let ServerMessage::Batch(batch) = message else { panic!("a batch") };
    assert_eq!(batch.messages[0].up[0][1], serde_json::json!(1.5));
}
