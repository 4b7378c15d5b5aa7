//! Newtypes for every identifier, each checked where it enters the application.
//!
//! Invariant: a value of one of these types has passed its check; nothing behind the edge checks again. The alphabet of
//! names is narrow on purpose: they become store keys, metric-free log fields and parts of URLs.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is not an identifier. The message says what is allowed, so that it can be shown to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must have 1 to {most} characters of {alphabet}")]
pub struct InvalidIdError {
    what: &'static str,
    most: usize,
    alphabet: &'static str,
}

const NAME_ALPHABET: &str = "letters, digits, '.', '_', '-', '@', '+' and '|'";
const PRINTABLE_ALPHABET: &str = "printable ASCII without spaces";

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+' | b'|')
}

fn is_printable_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $most:expr, $alphabet:expr, $allowed:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it over.
            ///
            /// # Errors
            /// [`InvalidIdError`] when it is empty, too long, or has a character outside the alphabet.
            pub fn parse(text: &str) -> Result<Self, InvalidIdError> {
                let valid = !text.is_empty() && text.len() <= $most && text.bytes().all($allowed);
                if valid {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidIdError { what: $what, most: $most, alphabet: $alphabet })
                }
            }

            /// The identifier as text.
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
    /// A connection, as API Gateway names it (`^[A-Za-z0-9_-]{15}=$`); other gateways' ids are taken as they are.
    ConnectionId, "a connection id", limits::MAX_CONNECTION_ID_BYTES, PRINTABLE_ALPHABET, is_printable_byte
);
identifier!(
    /// A person or device owner, as the token's `sub` names it.
    UserId, "a user id", limits::MAX_NAME_BYTES, NAME_ALPHABET, is_name_byte
);
identifier!(
    /// A customer of a shared deployment. Nothing crosses from one tenant to another.
    TenantId, "a tenant", limits::MAX_NAME_BYTES, NAME_ALPHABET, is_name_byte
);
identifier!(
    /// The name of a room or topic, without its prefix.
    Name, "a room or topic name", limits::MAX_NAME_BYTES, NAME_ALPHABET, is_name_byte
);
identifier!(
    /// The sender's own id of a frame or push: the key of deduplication, and what the `ack` repeats.
    MessageId, "a message id", limits::MAX_MESSAGE_ID_BYTES, PRINTABLE_ALPHABET, is_printable_byte
);

impl TenantId {
    /// The tenant of tokens that name none.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self(Arc::from("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_takes_what_identity_providers_send() {
        for text in ["alice", "auth0|5f7c8ec7c33c6c004bbafe82", "a.b+c@example.com", "0"] {
            assert_eq!(UserId::parse(text).map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_name_refuses_what_would_break_a_key_or_a_url() {
        for text in ["", " ", "a b", "a:b", "a/b", "a\nb", "é", "a{b}", &"x".repeat(limits::MAX_NAME_BYTES + 1)] {
            assert!(Name::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_error_says_what_is_allowed() {
        let message = UserId::parse("").unwrap_err().to_string();
        assert_eq!(
            message,
            "a user id must have 1 to 128 characters of letters, digits, '.', '_', '-', '@', '+' and '|'"
        );
    }

    #[test]
    fn deserialising_checks_too() {
        assert!(serde_json::from_str::<UserId>("\"a b\"").is_err());
        assert_eq!(serde_json::from_str::<UserId>("\"bob\"").unwrap().as_str(), "bob");
    }
}
