//! What a client is told when its frame cannot be carried out: a code to branch on and a sentence to read.
//!
//! The table of codes is part of the protocol (`docs/PROTOCOL.md`, Errors). Texts never repeat what the client sent,
//! channel names aside, which are checked and short.

use std::borrow::Cow;

use serde::Serialize;

use super::outgoing::{ErrorFrame, Frame};
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
pub struct Refusal {
    /// What a program branches on.
    pub code: ErrorCode,
    /// What a person reads: what is wrong, why, and what to do.
    pub message: Cow<'static, str>,
}

/// A frame that could not be read, with its `id` when that much could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The frame's own id.
    pub id: Option<MessageId>,
    /// Why it was refused.
    pub refusal: Refusal,
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

impl Refusal {
    /// A refusal with its code and text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The `error` frame that answers the frame `id`.
    #[must_use]
    pub fn text(&self, id: Option<&MessageId>) -> String {
        ErrorFrame { code: self.code, message: &self.message, id: id.map(MessageId::as_str) }.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::GapReason;

    #[test]
    fn the_protocol_page_has_every_code_and_reason() {
        let page = include_str!("../../../docs/PROTOCOL.md");
        let reasons = [GapReason::Trimmed, GapReason::Epoch, GapReason::TooMany, GapReason::Unavailable];
        let codes = ErrorCode::ALL.map(|code| serde_json::to_value(code).unwrap());
        let reasons = reasons.map(|reason| serde_json::to_value(reason).unwrap());
        for word in codes.iter().chain(&reasons) {
            let row = format!("| `{}` |", word.as_str().unwrap());
            assert!(page.contains(&row), "the page has no row {row}");
        }
    }

    #[test]
    fn an_error_without_an_id_has_no_id_field() {
        let refusal = Refusal::new(ErrorCode::Gone, "gone \"for good\"");
        assert_eq!(refusal.text(None), r#"{"type":"error","code":"gone","message":"gone \"for good\""}"#);
    }
}
