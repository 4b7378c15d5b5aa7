//! Newtypes of all identifiers, validated when they enter the application.
//!
//! Every value of these types is valid, so no other code validates again. The alphabet of names is narrow because names
//! become store keys, log fields and parts of URLs.

mod encoding;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// An invalid identifier. The message states the allowed length and characters and may be shown to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must have 1 to {max_len} characters of {alphabet}")]
pub struct InvalidIdError {
    kind: &'static str,
    max_len: usize,
    alphabet: &'static str,
}

const NAME_ALPHABET: &str = "letters, digits, '.', '_', '-', '@', '+' and '|'";
const ENCODED_NAME_ALPHABET: &str = "letters, digits, '.', '_', '-', '@', '+', '|' and '%'";
const PRINTABLE_ALPHABET: &str = "printable ASCII without spaces";

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+' | b'|')
}

fn is_encoded_name_byte(byte: u8) -> bool {
    is_name_byte(byte) || byte == b'%'
}

fn is_printable_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max_len:expr, $alphabet:expr, $allowed:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates `text` and copies it.
            ///
            /// # Errors
            /// [`InvalidIdError`] if `text` is empty, too long, or contains a character outside the alphabet.
            pub fn parse(text: &str) -> Result<Self, InvalidIdError> {
                let valid = !text.is_empty() && text.len() <= $max_len && text.bytes().all($allowed);
                if valid {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidIdError { kind: $kind, max_len: $max_len, alphabet: $alphabet })
                }
            }

            /// Returns the identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidIdError;

            fn try_from(text: String) -> Result<Self, InvalidIdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier!(
    /// Id of a connection. API Gateway uses `^[A-Za-z0-9_-]{15}=$`; ids of other gateways are accepted as they are.
    ConnectionId, "a connection id", limits::MAX_CONNECTION_ID_BYTES, PRINTABLE_ALPHABET, is_printable_byte
);
identifier!(
    /// Id of a user: the token's `sub`, encoded if it is not a name ([`UserId::encode`]).
    UserId, "a user id", limits::MAX_NAME_BYTES, ENCODED_NAME_ALPHABET, is_encoded_name_byte
);
identifier!(
    /// Id of a tenant of a shared deployment, encoded like a user id. Tenants are isolated from each other.
    TenantId, "a tenant", limits::MAX_NAME_BYTES, ENCODED_NAME_ALPHABET, is_encoded_name_byte
);
identifier!(
    /// Name of a room or topic, without the prefix.
    LocalName, "a room or topic name", limits::MAX_NAME_BYTES, NAME_ALPHABET, is_name_byte
);
identifier!(
    /// Id of a token: its `jti`, encoded if it is not printable ASCII or too long ([`TokenId::encode`]).
    TokenId, "a token id", limits::MAX_NAME_BYTES, PRINTABLE_ALPHABET, is_printable_byte
);
identifier!(
    /// Id that the sender gives a frame or push: the deduplication key, repeated in the `ack`.
    MessageId, "a message id", limits::MAX_MESSAGE_ID_BYTES, PRINTABLE_ALPHABET, is_printable_byte
);

impl UserId {
    /// Returns the user id of a token's subject: the text itself if it is a name, otherwise its percent-encoding, such
    /// as `f%3A8c1d%3Aalice` for `f:8c1d:alice`. Different texts have different ids.
    ///
    /// # Errors
    /// [`InvalidIdError`] if the text is empty.
    pub fn encode(text: &str) -> Result<Self, InvalidIdError> {
        if text.is_empty() { Self::parse(text) } else { Self::parse(&encoding::encode_name(text)) }
    }

    /// Parses a user id, or encodes the text of a subject, for callers that may know either.
    ///
    /// # Errors
    /// [`InvalidIdError`] if the text is empty.
    pub fn parse_or_encode(text: &str) -> Result<Self, InvalidIdError> {
        Self::parse(text).or_else(|_| Self::encode(text))
    }
}

impl TokenId {
    /// Returns the id of a token's `jti`: the text itself if it is printable ASCII of at most 128 characters, otherwise
    /// encoded like a [user id](UserId::encode), so that a revocation covers every token.
    ///
    /// # Errors
    /// [`InvalidIdError`] if the text is empty.
    pub fn encode(text: &str) -> Result<Self, InvalidIdError> {
        Self::parse(text)
            .or_else(|error| if text.is_empty() { Err(error) } else { Self::parse(&encoding::encode_name(text)) })
    }
}

impl TenantId {
    /// Returns the tenant of a token's claim, encoded like a [user id](UserId::encode).
    ///
    /// # Errors
    /// [`InvalidIdError`] if the text is empty.
    pub fn encode(text: &str) -> Result<Self, InvalidIdError> {
        if text.is_empty() { Self::parse(text) } else { Self::parse(&encoding::encode_name(text)) }
    }

    /// Returns the tenant of tokens without a `tenant` claim.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self(Arc::from("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_of_identity_providers_are_valid_user_ids() {
        for text in ["alice", "auth0|5f7c8ec7c33c6c004bbafe82", "a.b+c@example.com", "0"] {
            assert_eq!(UserId::parse(text).map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn names_that_would_break_a_key_or_a_url_are_rejected() {
        for text in ["", " ", "a b", "a:b", "a/b", "a\nb", "é", "a{b}", &"x".repeat(limits::MAX_NAME_BYTES + 1)] {
            assert!(LocalName::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn callers_may_use_the_subject_or_the_user_id() {
        for text in ["f:8c1d:alice", "f%3A8c1d%3Aalice"] {
            assert_eq!(UserId::parse_or_encode(text).map(String::from), Ok("f%3A8c1d%3Aalice".to_owned()));
        }
        assert!(UserId::parse_or_encode("").is_err() && TenantId::encode("").is_err());
    }

    #[test]
    fn every_token_id_but_the_empty_one_can_be_revoked() {
        for (text, id) in [("j1", "j1"), ("a#b/c:{d}*%", "a#b/c:{d}*%"), ("a b", "a%20b"), ("é", "%C3%A9")] {
            assert_eq!(TokenId::encode(text).map(String::from), Ok(id.to_owned()));
        }
        assert!(TokenId::encode(&"x".repeat(200)).unwrap().as_str().starts_with("%sha256-"));
        assert!(TokenId::encode("").is_err());
    }

    #[test]
    fn the_error_states_length_and_alphabet() {
        let message = UserId::parse("").unwrap_err().to_string();
        assert_eq!(
            message,
            "a user id must have 1 to 128 characters of letters, digits, '.', '_', '-', '@', '+', '|' and '%'"
        );
    }

    #[test]
    fn deserializing_validates() {
        assert!(serde_json::from_str::<UserId>("\"a b\"").is_err());
        assert_eq!(serde_json::from_str::<UserId>("\"bob\"").unwrap().as_str(), "bob");
    }
}
