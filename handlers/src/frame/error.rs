//! Errors of client frames: a code for programs and a message for people.
//!
//! The table of codes is part of the protocol (`docs/PROTOCOL.md`, Errors). Messages never repeat input of the client,
//! except channel names, which are validated and short.

use std::borrow::Cow;

use serde::Serialize;

use super::outgoing::{EncodeFrame, ErrorFrame};
use crate::id::MessageId;

/// Error codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The text is not one JSON object with every field at most once.
    BadJson,
    /// `action` is not an action of the protocol.
    UnknownAction,
    /// A required field is missing.
    MissingField,
    /// A field has the wrong type or an invalid value.
    BadField,
    /// A body exceeds its limit.
    TooLarge,
    /// Too many channels, in the frame or on the connection.
    TooMany,
    /// The caller's role does not permit the action.
    Forbidden,
    /// The action is permitted after joining the room.
    NotJoined,
    /// The token has expired; the connection is closed with 4401.
    TokenExpired,
    /// The server has no record of the connection: reconnect.
    Gone,
    /// A part of the server is unavailable; a retry may succeed.
    Unavailable,
    /// The message log is full.
    LogFull,
    /// The connection has read or joined too much in a short time.
    RateLimited,
}

/// An error of a frame, as the client receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// Code for programs.
    pub code: ErrorCode,
    /// Message for people: what is wrong, why, and how to fix it.
    pub message: Cow<'static, str>,
    /// Time in milliseconds after which the client may repeat the frame.
    pub retry_after_ms: Option<u64>,
}

/// A parse error, with the `id` of the frame if it was readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameParseError {
    /// Id of the frame.
    pub id: Option<MessageId>,
    pub error: ClientError,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 13] = [
        Self::BadJson,
        Self::UnknownAction,
        Self::MissingField,
        Self::BadField,
        Self::TooLarge,
        Self::TooMany,
        Self::Forbidden,
        Self::NotJoined,
        Self::TokenExpired,
        Self::Gone,
        Self::Unavailable,
        Self::LogFull,
        Self::RateLimited,
    ];
}

impl ClientError {
    /// Creates an error.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    /// Encodes the `error` frame that answers the frame `id`.
    #[must_use]
    pub fn encode_frame(&self, id: Option<&MessageId>) -> String {
        let (id, retry_after_ms) = (id.map(MessageId::as_str), self.retry_after_ms);
        ErrorFrame { code: self.code, message: &self.message, id, retry_after_ms }.encode_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ClientAction, GapReason};

    const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

    /// Returns the first column of the table under a heading of the protocol page.
    fn documented_names(heading: &str) -> Vec<&'static str> {
        let section = PROTOCOL.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}")).1;
        let rows =
            section.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
        rows.map(|row| row.split('`').nth(1).unwrap_or_default()).collect()
    }

    fn names<T: Serialize>(values: &[T]) -> Vec<String> {
        values.iter().map(|value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_protocol_page_has_exactly_the_codes_reasons_and_actions_of_the_code() {
        assert_eq!(documented_names("\n## Errors"), names(&ErrorCode::ALL));
        assert_eq!(documented_names("| reason | meaning |"), names(&GapReason::ALL));
        let mut actions: Vec<_> = ClientAction::names().collect();
        let mut rows = documented_names("| action | fields |");
        actions.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, actions);
    }

    /// A new variant does not compile here until it is added; add it to `ALL` as well.
    #[test]
    fn all_lists_have_every_variant() {
        let index = |code| match code {
            ErrorCode::BadJson => 0,
            ErrorCode::UnknownAction => 1,
            ErrorCode::MissingField => 2,
            ErrorCode::BadField => 3,
            ErrorCode::TooLarge => 4,
            ErrorCode::TooMany => 5,
            ErrorCode::Forbidden => 6,
            ErrorCode::NotJoined => 7,
            ErrorCode::TokenExpired => 8,
            ErrorCode::Gone => 9,
            ErrorCode::Unavailable => 10,
            ErrorCode::LogFull => 11,
            ErrorCode::RateLimited => 12,
        };
        assert!(ErrorCode::ALL.into_iter().map(index).eq(0..13));
        let index = |reason| match reason {
            GapReason::Trimmed => 0,
            GapReason::Epoch => 1,
            GapReason::TooMany => 2,
            GapReason::Unavailable => 3,
            GapReason::Slow => 4,
        };
        assert!(GapReason::ALL.into_iter().map(index).eq(0..5));
    }

    #[test]
    fn an_error_without_an_id_has_no_id_field() {
        let error = ClientError::new(ErrorCode::Gone, "gone \"for good\"");
        assert_eq!(error.encode_frame(None), r#"{"type":"error","code":"gone","message":"gone \"for good\""}"#);
    }
}
