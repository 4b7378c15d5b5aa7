//! Route selection, by the RT rows of the catalogue.

use proptest::prelude::*;

use super::*;
use crate::api::WebSocketApi;
use crate::samples::{api_definition, route_definition};

fn select(expression: &str, body: &str) -> Option<String> {
    match SelectionExpression::parse(expression).unwrap().evaluate_body(body) {
        SelectionValue::Text(value) => Some(value.into_owned()),
        SelectionValue::NotJson => None,
    }
}

fn action(body: &str) -> Option<String> {
    select("$request.body.action", body)
}

fn api(keys: &[&str]) -> WebSocketApi {
    let mut definition = api_definition();
    definition.routes = keys.iter().map(|key| route_definition(key)).collect();
    WebSocketApi::new(definition).unwrap()
}

fn resolved(api: &WebSocketApi, body: &str) -> Option<String> {
    api.route_for(body).map(|route| route.key.to_string())
}

#[test]
fn rt_1_variables_literals_and_escapes_combine() {
    let body = r#"{"service":"chat","action":"send","a":{"b":"deep"}}"#;
    assert_eq!(select("${request.body.service}/${request.body.action}", body).as_deref(), Some("chat/send"));
    assert_eq!(select("$request.body.service/$request.body.action", body).as_deref(), Some("chat/send"));
    assert_eq!(select("${request.body.a.b}", body).as_deref(), Some("deep"));
    assert_eq!(select(r"\$default", body).as_deref(), Some("$default"));
    assert_eq!(select("static", body).as_deref(), Some("static"));
}

#[test]
fn rt_1_invalid_expressions_are_reported() {
    let reason = |text: &str| SelectionExpression::parse(text).unwrap_err();
    assert_eq!(reason(""), SelectionExpressionError::Empty);
    assert_eq!(reason("a${request.body.x"), SelectionExpressionError::Unclosed(1));
    assert_eq!(reason("$default"), SelectionExpressionError::UnknownVariable("default".to_owned()));
    assert_eq!(reason("$request.header.x"), SelectionExpressionError::UnknownVariable("request.header.x".to_owned()));
    assert_eq!(reason("$"), SelectionExpressionError::UnknownVariable(String::new()));
    for path in ["a..b", "", "a[0]", "*", "a."] {
        assert_eq!(reason(&format!("${{request.body.{path}}}")), SelectionExpressionError::Path(path.to_owned()));
    }
}

#[test]
fn rt_2_a_path_that_does_not_exist_is_empty() {
    assert_eq!(select("${request.body.action}-${request.body.x}", r#"{"action":"join"}"#).as_deref(), Some("join-"));
    assert_eq!(select("${request.body.a.b.c}", r#"{"a":{"b":"text"}}"#).as_deref(), Some(""));
}

#[test]
fn rt_3_values_become_text() {
    for (value, expected) in [
        (r#""plain""#, "plain"),
        (r#""tab\tü\u00fc""#, "tab\tüü"),
        ("1", "1"),
        ("1.0", "1.0"),
        ("-2e3", "-2e3"),
        ("true", "true"),
        ("null", ""),
        ("[]", "[]"),
        (r#"["item1", 2 ,null]"#, "[item1, 2, null]"),
        (r#"[["a"]]"#, r#"[["a"]]"#),
        (r#"{"k": 1}"#, r#"{"k": 1}"#),
    ] {
        assert_eq!(action(&format!(r#"{{"action": {value} }}"#)).as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn rt_4_match_is_exact_then_default() {
    let api = api(&["chat", "$default"]);
    assert_eq!(resolved(&api, r#"{"action":"chat"}"#).as_deref(), Some("chat"));
    for body in [r#"{"action":"Chat"}"#, r#"{"action":"chat "}"#, r#"{"action":["chat"]}"#] {
        assert_eq!(resolved(&api, body).as_deref(), Some("$default"), "{body}");
    }
}

#[test]
fn rt_5_text_that_is_not_json_goes_to_default() {
    let api = api(&["chat", "-", "$default"]);
    for body in ["hello", "", "{", r#"{"action":"chat""#, r#"{"action":"chat"} x"#, "\u{feff}{\"action\":\"chat\"}"] {
        assert_eq!(resolved(&api, body).as_deref(), Some("$default"), "{body:?}");
        assert_eq!(select("${request.body.a}-${request.body.b}", body), None, "{body:?}");
    }
}

#[test]
fn rt_6_json_without_the_key_goes_to_default() {
    assert_eq!(resolved(&api(&["chat", "$default"]), r#"{"other":"chat"}"#).as_deref(), Some("$default"));
}

#[test]
fn rt_8_no_match_and_no_default_is_forbidden() {
    let api = api(&["chat"]);
    for body in [r#"{"action":"other"}"#, r#"{"action":""}"#, "{}", "hello", "[1]"] {
        assert_eq!(resolved(&api, body), None, "{body}");
    }
}

#[test]
fn rt_11_other_json_values_have_no_path() {
    for body in [r#"["action"]"#, r#""action""#, "7", "1.5", "-1", "true", "null"] {
        assert_eq!(action(body).as_deref(), Some(""), "{body}");
    }
}

#[test]
fn rt_12_messages_never_reach_the_lifecycle_routes() {
    let with_default = api(&["$connect", "$disconnect", "$default"]);
    let without = api(&["$connect", "$disconnect"]);
    assert!(without.routes.connect.is_some() && without.routes.disconnect.is_some());
    for key in ["$connect", "$disconnect", "$default"] {
        let body = format!(r#"{{"action":"{key}"}}"#);
        assert_eq!(resolved(&with_default, &body).as_deref(), Some("$default"));
        assert_eq!(resolved(&without, &body), None);
    }
}

#[test]
fn rt_13_unusual_json_has_one_meaning() {
    assert_eq!(action(r#"{"action":"a","action":"b"}"#).as_deref(), Some("b"));
    assert_eq!(action("\r\n\t {\"action\":\"a\"} \n").as_deref(), Some("a"));
    assert_eq!(action(r#"{"\u0061ction":"a"}"#).as_deref(), Some("a"));
    let deep = format!(r#"{{"x":{}{},"action":"a"}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(action(&deep).as_deref(), Some("a"));
    let deep = format!(r#"{{"action":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    assert!(action(&deep).is_some());
}

#[test]
fn a_plain_value_is_borrowed_from_the_message() {
    let expression = SelectionExpression::parse("$request.body.action").unwrap();
    assert!(matches!(
        expression.evaluate_body(r#"{"action":"chat"}"#),
        SelectionValue::Text(std::borrow::Cow::Borrowed("chat"))
    ));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), ".{0,3}"];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::hash_map(keys, inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn rt_5_a_lone_surrogate_is_valid_json() {
    assert_eq!(select("$request.body.action", r#"{"\ud800": 1, "action": "send"}"#).as_deref(), Some("send"));
    assert_eq!(select("$request.body.action", r#" "\ud84d" "#).as_deref(), Some(""));
    assert_eq!(select("$request.body.action", r#"{"action": "\ud800"}"#).as_deref(), Some(""));
}

proptest! {
    #[test]
    fn rt_1_parsing_and_selecting_never_panic(expression in r"(\\?\$|\{|\}|request\.body\.|[a-z.\[\] é]){0,12}", body in ".{0,40}") {
        if let Ok(parsed) = SelectionExpression::parse(&expression) {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
            prop_assert!(!is_json || parsed.evaluate_body(&body) != SelectionValue::NotJson);
        }
    }

    #[test]
    fn rt_3_the_scan_agrees_with_a_parsed_document(document in json()) {
        let found = select("${request.body.a.b}", &document.to_string());
        let expected = document.get("a").and_then(|a| a.get("b")).and_then(serde_json::Value::as_str);
        if let Some(expected) = expected {
            prop_assert_eq!(found.as_deref(), Some(expected));
        } else {
            prop_assert!(found.is_some());
        }
    }
}
