//! What the fuzzer calls, one function per parser of what strangers send. Each panics when something is wrong.
//!
//! `make fuzz` runs every target for a bounded time, beginning with the inputs of `corpus/{target}.tar.gz`; `cargo test`
//! replays them. `tests/scripts/corpus.sh` unpacks and packs the archives.
//! An input is bytes; texts are cut out of them, so that the fuzzer can change the parts independently.

mod frames;

pub use self::frames::frames;

use gateway::management::{ManagementError, is_management_path, parse_management_path};
use gateway::reply::IntegrationReply;
use gateway::route::{SelectionExpression, SelectionValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::IgnoredAny;

/// The stage of the paths that are made up here.
const STAGE: &str = "prod";

/// The route selection expression: the first line of the input is the expression, the rest the message.
///
/// Checks that a message is "not JSON" exactly when the JSON parser says so, and that a plain path finds what the parsed
/// document has there.
///
/// # Panics
/// When one of these does not hold.
pub fn selection(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (expression, body) = text.split_once('\n').unwrap_or(("$request.body.action", text));
    let Ok(parsed) = SelectionExpression::parse(expression) else { return };
    let selected = parsed.evaluate_body(body);
    let reads_body = expression.replace("\\$", "").contains('$');
    if reads_body {
        let is_json = serde_json::from_str::<IgnoredAny>(body).is_ok();
        assert_eq!(selected == SelectionValue::NotJson, !is_json, "{expression:?} on {body:?}");
    }
    if expression == "$request.body.action"
        && let Ok(document) = serde_json::from_str::<serde_json::Value>(body)
        && let Some(action) = document.get("action").and_then(serde_json::Value::as_str)
    {
        assert_eq!(selected, SelectionValue::Text(action.into()), "{body:?}");
    }
}

/// The paths of `@connections`.
///
/// Checks that a target is only found in what belongs to `@connections`, and that escaping every byte of its id again
/// finds the same one.
///
/// # Panics
/// When one of these does not hold.
pub fn management(input: &[u8]) {
    let Ok(path) = std::str::from_utf8(input) else { return };
    match parse_management_path(path, STAGE) {
        Ok(target) => {
            assert!(is_management_path(path), "{path:?} has a target and is no path of @connections");
            let id = utf8_percent_encode(target.connection_id.as_str(), NON_ALPHANUMERIC);
            let again = parse_management_path(&format!("/{STAGE}/@connections/{id}"), STAGE);
            assert_eq!(again, Ok(target), "{path:?} escaped again");
        }
        Err(ManagementError::MalformedId(_) | ManagementError::Forbidden) => {}
        Err(other) => panic!("{path:?} is answered with {other:?}"),
    }
}

/// A proxy response of a function as JSON.
///
/// Checks that whatever is taken has a status that HTTP can end with.
///
/// # Panics
/// When it does not.
pub fn reply(input: &[u8]) {
    if let Ok(reply) = IntegrationReply::from_json(input) {
        assert!((200..=599).contains(&reply.status), "status {}", reply.status);
        let _ = reply.chosen_subprotocol();
    }
}
