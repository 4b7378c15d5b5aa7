//! Tests of accepted and rejected frames.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::limits;

fn parse(frame: &str) -> Result<ClientFrame<'_>, FrameParseError> {
    ClientFrame::parse(frame, &limits::Limits::default())
}

fn rejected(frame: &str) -> (ErrorCode, String) {
    let error = parse(frame).expect_err(frame).error;
    (error.code, error.message.into_owned())
}

/// A channel's name, and the requested epoch and offset.
type ParsedRequest = (String, Option<(Option<String>, u64)>);

fn parsed_requests(frame: &str) -> Vec<ParsedRequest> {
    let (ClientAction::Join(requests) | ClientAction::Resume(requests)) = parse(frame).unwrap().action else {
        panic!("{frame}")
    };
    let since = |since: ClientPosition| (since.epoch.map(|epoch| epoch.0.as_ref().to_owned()), since.offset.0);
    requests.into_iter().map(|request| (request.channel.to_string(), request.since.map(since))).collect()
}

#[test]
fn a_send_keeps_its_body_byte_for_byte() {
    let frame = r#"{"action":"send","id":"m1","to":"room:lobby","body": {"a" : [1.0, "\u00e9"]} ,"ephemeral":true}"#;
    let ClientFrame { id, action: ClientAction::Send(send) } = parse(frame).unwrap() else { panic!() };
    assert_eq!(id.unwrap().as_str(), "m1");
    assert_eq!(send.to.unwrap().to_string(), "room:lobby");
    assert_eq!(send.body.get(), r#"{"a" : [1.0, "\u00e9"]}"#);
    assert!(send.ephemeral);
}

#[test]
fn null_is_a_valid_body_and_an_absent_field_elsewhere() {
    let frame = r#"{"action":"send","id":null,"to":null,"ephemeral":null,"body":null}"#;
    let ClientFrame { id: None, action: ClientAction::Send(send) } = parse(frame).unwrap() else { panic!() };
    assert_eq!((send.to, send.body.get(), send.ephemeral), (None, "null", false));
}

#[test]
fn channels_have_three_forms() {
    let epoch = |offset| Some((Some("e1".to_owned()), offset));
    let one = parsed_requests(r#"{"action":"join","channel":"room:a","since":{"epoch":"e1","offset":5}}"#);
    assert_eq!(one, [("room:a".to_owned(), epoch(5))]);
    let list = parsed_requests(r#"{"action":"join","channels":["room:b","room:a","room:a"]}"#);
    assert_eq!(list, [("room:a".to_owned(), None), ("room:b".to_owned(), None)], "each once");
    let map = parsed_requests(r#"{"action":"resume","channels":{"everyone":{"offset":7},"topic:t":null}}"#);
    assert_eq!(map, [("everyone".to_owned(), Some((None, 7))), ("topic:t".to_owned(), None)]);
    assert!(parsed_requests(r#"{"action":"resume"}"#).is_empty());
}

#[test]
fn unknown_fields_are_ignored_and_escapes_decoded() {
    let frame = r#"{"\u0061ction":"p\u0069ng","id":"a\/b","new":{"x":[]}}"#;
    let ClientFrame { id, action: ClientAction::Ping } = parse(frame).unwrap() else { panic!() };
    assert_eq!(id.unwrap().as_str(), "a/b");
}

#[test]
fn text_other_than_one_json_object_is_bad_json() {
    for frame in [
        "",
        "hello",
        "{",
        "[]",
        "[\"x\"]",
        "7",
        "null",
        "{} {}",
        r#"{"action":"ping","action":"ping"}"#,
        "{\"a\":\"\u{1}\"}",
    ] {
        assert_eq!(rejected(frame).0, ErrorCode::BadJson, "{frame:?}");
    }
    assert!(rejected("{\"action\": ping}").1.contains("column"));
}

#[test]
fn every_error_has_its_code_and_names_its_field() {
    use ErrorCode::{BadField, MissingField, TooLarge, TooMany, UnknownAction};
    let large = json!({ "action": "send", "body": "x".repeat(limits::MAX_BODY_BYTES) }).to_string();
    let names: Vec<String> = (0..=limits::MAX_CHANNELS_PER_FRAME).map(|number| format!("room:r{number}")).collect();
    let many = json!({ "action": "join", "channels": names }).to_string();
    let long_id = json!({ "action": "ping", "id": "x".repeat(limits::MAX_MESSAGE_ID_BYTES + 1) }).to_string();
    let cases: [(&str, ErrorCode, &str); 26] = [
        (r#"{}"#, MissingField, "'action'"),
        (r#"{"action":"sned"}"#, UnknownAction, "send"),
        (r#"{"action":7}"#, UnknownAction, "'action'"),
        (r#"{"action":"send"}"#, MissingField, "'body'"),
        (r#"{"action":"send","body":1,"to":"lobby"}"#, BadField, "'to'"),
        (r#"{"action":"send","body":1,"to":7}"#, BadField, "'to'"),
        (r#"{"action":"send","body":1,"ephemeral":"yes"}"#, BadField, "'ephemeral'"),
        (&large, TooLarge, "28672"),
        (r#"{"action":"ping","id":7}"#, BadField, "'id'"),
        (r#"{"action":"ping","id":""}"#, BadField, "'id'"),
        (&long_id, BadField, "64"),
        (r#"{"action":"join"}"#, MissingField, "'channel'"),
        (r#"{"action":"join","channels":[]}"#, MissingField, "'channel'"),
        (r#"{"action":"join","channels":"room:a"}"#, BadField, "'channels'"),
        (r#"{"action":"join","channels":[1]}"#, BadField, "'channels'"),
        (r#"{"action":"join","channels":["room:a"],"channel":"room:b"}"#, BadField, "not both"),
        (r#"{"action":"join","channel":"topic:t"}"#, BadField, "rooms"),
        (r#"{"action":"subscribe","channel":"room:t"}"#, BadField, "topics"),
        (r#"{"action":"join","channel":"room:a","since":5}"#, BadField, "'since'"),
        (r#"{"action":"join","channel":"room:a","since":["e",1]}"#, BadField, "'since'"),
        (r#"{"action":"resume","channels":{"room:a":{"epoch":"e"}}}"#, BadField, "'channels'"),
        (&many, TooMany, "64"),
        (r#"{"action":"history"}"#, MissingField, "'channel'"),
        (r#"{"action":"history","channel":"everyone","limit":0}"#, BadField, "'limit'"),
        (r#"{"action":"history","channel":"everyone","limit":101}"#, BadField, "'limit'"),
        (r#"{"action":"history","channel":"everyone","before":"7"}"#, BadField, "'before'"),
    ];
    for (frame, code, part) in cases {
        let (found, message) = rejected(frame);
        assert_eq!(found, code, "{frame}");
        assert!(message.contains(part), "{frame}: {message}");
    }
}

#[test]
fn an_error_keeps_a_readable_id() {
    let id = |frame| parse(frame).unwrap_err().id.map(String::from);
    assert_eq!(id(r#"{"id":"m1","action":"send"}"#).as_deref(), Some("m1"));
    assert_eq!(id(r#"{"id":"","action":"send"}"#), None);
}

#[test]
fn a_body_of_the_maximum_size_and_a_deeply_nested_one_are_accepted() {
    let largest = json!({ "action": "send", "body": "x".repeat(limits::MAX_BODY_BYTES - 2) }).to_string();
    assert!(matches!(parse(&largest).unwrap().action, ClientAction::Send(_)));
    let deep = format!(r#"{{"action":"send","body":{}{}}}"#, "[".repeat(14_000), "]".repeat(14_000));
    assert!(matches!(parse(&deep).unwrap().action, ClientAction::Send(_)));
}

fn json_text() -> impl Strategy<Value = String> {
    let fields = ["action", "id", "to", "body", "channel", "channels", "since", "before", "limit", "ephemeral"];
    let values = [
        "\"send\"",
        "\"resume\"",
        "\"join\"",
        "{\"room:a\":{\"offset\":1}}",
        "[\"room:a\"]",
        "null",
        "1e9",
        "\"\\ud800\"",
    ];
    let pair = (prop::sample::select(fields.to_vec()), prop::sample::select(values.to_vec()));
    prop::collection::vec(pair, 0..8).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.into_iter().map(|(field, value)| format!("\"{field}\":{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in any::<String>(), frame in json_text()) {
        for text in [text, frame] {
            if let Err(FrameParseError { id, error }) = parse(&text) {
                let answer: serde_json::Value = serde_json::from_str(&error.encode_frame(id.as_ref())).unwrap();
                prop_assert_eq!(&answer["type"], "error");
            }
        }
    }
}
