//! Fuzz targets, one function per parser of untrusted input. Each panics when a property is violated.
//!
//! `make fuzz` runs every target for a bounded time, starting with the inputs of `corpus/{target}.tar.gz`; `cargo
//! test` replays them. `tests/scripts/corpus.sh` unpacks and packs the archives. An input is bytes; texts are cut out
//! of it, so that the fuzzer can change the parts independently.

mod frames;

pub use self::frames::frames;

use gateway::management::{ManagementError, is_management_path, parse_management_path};
use gateway::reply::IntegrationReply;
use gateway::route::{SelectionExpression, SelectionValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::IgnoredAny;

/// Stage in the generated paths.
const STAGE: &str = "prod";

/// Fuzzes the route selection: the first line of the input is the expression, the rest the message.
///
/// Checks that a message is classified as "not JSON" exactly when the JSON parser rejects it, and that a plain path
/// selects the value of the parsed document.
///
/// # Panics
/// One of these properties does not hold.
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

/// Fuzzes the parser of `@connections` paths.
///
/// Checks that only paths of `@connections` have a target, and that percent-encoding every byte of the id yields the
/// same target.
///
/// # Panics
/// One of these properties does not hold.
pub fn management(input: &[u8]) {
    let Ok(path) = std::str::from_utf8(input) else { return };
    match parse_management_path(path, STAGE, &[]) {
        Ok(target) => {
            assert!(is_management_path(path), "{path:?} has a target but is not a path of @connections");
            let id = utf8_percent_encode(target.connection_id.as_str(), NON_ALPHANUMERIC);
            let again = parse_management_path(&format!("/{STAGE}/@connections/{id}"), STAGE, &[]);
            assert_eq!(again, Ok(target), "{path:?} escaped again");
        }
        Err(ManagementError::MalformedId(_) | ManagementError::Forbidden) => {}
        Err(other) => panic!("{path:?} returns {other:?}"),
    }
}

/// Fuzzes the parser of a function's proxy response.
///
/// Checks that an accepted response has a valid final HTTP status.
///
/// # Panics
/// The status is invalid.
pub fn reply(input: &[u8]) {
    if let Ok(reply) = IntegrationReply::from_json(input) {
        assert!((200..=599).contains(&reply.status), "status {}", reply.status);
        let _ = reply.chosen_subprotocol();
    }
}
