//! What a client is told when its frame cannot be carried out: a code to branch on and a sentence to read.
//!
//! The table of codes is part of the protocol (`docs/PROTOCOL.md`, Errors). Texts never repeat what the client sent,
//! channel names aside, which are checked and short.

use std::borrow::Cow;

use serde::Serialize;

use super::outgoing::{EncodeFrame, ErrorFrame};
use crate::id::MessageId;

/// The closed set of error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The text is not one JSON object with every field at most once.
    BadJson,
    /// `action` is none of the protocol's.
    UnknownAction,
    /// A field that the action needs is absent.
    MissingField,
    /// A field has the wrong type or a value that is not allowed.
    BadField,
    /// A body is over its limit.
    TooLarge,
    /// Too many channels, in the frame or on the connection.
    TooMany,
    /// The caller's role may not do this.
    Forbidden,
    /// The caller may, once it has joined the room.
    NotJoined,
    /// The token has run out; the connection is closed with 4401.
    TokenExpired,
    /// The server no longer knows the connection: connect again.
    Gone,
    /// A part of the server is away for the moment: the same frame may work later.
    Unavailable,
    /// The message log has no room left.
    LogFull,
}

/// Why a frame is not carried out, in the client's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    /// What a program branches on.
    pub code: ErrorCode,
    /// What a person reads: what is wrong, why, and what to do.
    pub message: Cow<'static, str>,
}

/// A frame that could not be read, with its `id` when that much could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameParseError {
    /// The frame's own id.
    pub id: Option<MessageId>,
    /// Why it was refused.
    pub error: ClientError,
}

impl ErrorCode {
    /// Every code, for documentation.
    pub const ALL: [Self; 12] = [
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
    ];
}

impl ClientError {
    /// A refusal with its code and text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The `error` frame that answers the frame `id`.
    #[must_use]
    pub fn encode_frame(&self, id: Option<&MessageId>) -> String {
        ErrorFrame { code: self.code, message: &self.message, id: id.map(MessageId::as_str) }.encode_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ClientAction, GapReason};

    const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

    /// The first column of the table under a heading of the protocol page.
    fn documented(heading: &str) -> Vec<&'static str> {
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
        assert_eq!(documented("\n## Errors"), names(&ErrorCode::ALL));
        assert_eq!(documented("| reason | meaning |"), names(&GapReason::ALL));
        let mut actions: Vec<_> = ClientAction::names().collect();
        let mut rows = documented("| action | fields |");
        actions.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, actions);
    }

    /// A new variant does not compile here: add it to `ALL` as well.
    #[test]
    fn all_lists_have_every_variant() {
        let place = |code| match code {
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
        };
        assert!(ErrorCode::ALL.into_iter().map(place).eq(0..12));
        let place = |reason| match reason {
            GapReason::Trimmed => 0,
            GapReason::Epoch => 1,
            GapReason::TooMany => 2,
            GapReason::Unavailable => 3,
            GapReason::Slow => 4,
        };
        assert!(GapReason::ALL.into_iter().map(place).eq(0..5));
    }

    #[test]
    fn an_error_without_an_id_has_no_id_field() {
        let refusal = ClientError::new(ErrorCode::Gone, "gone \"for good\"");
        assert_eq!(refusal.encode_frame(None), r#"{"type":"error","code":"gone","message":"gone \"for good\""}"#);
    }
}
