//! Channels: named, ordered logs with subscribers.
//!
//! A channel belongs to one tenant. Frames contain only its name (`room:lobby`), because a connection is bound to its
//! tenant; store keys and messages between pods contain both (`acme/room:lobby`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidIdError, LocalName, TenantId, UserId};

/// The kind and name of a channel. The kind decides who may read and write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ChannelName {
    /// Messages between one user and all admins of the tenant.
    Conversation(UserId),
    /// A room, read and written by the connections that joined it.
    Room(LocalName),
    /// A feed that backends and admins write to. Subscribed connections only read it.
    Topic(LocalName),
    /// Every connection of the tenant.
    Everyone,
}

/// A channel name within its tenant: the key of logs, subscriptions and audiences.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel {
    pub tenant: TenantId,
    pub name: ChannelName,
}

/// An error of parsing a channel name or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelError {
    /// The name has no known prefix.
    #[error("a channel is 'conversation:{{user}}', 'room:{{name}}', 'topic:{{name}}' or 'everyone'")]
    UnknownKind,
    /// The part after the prefix is invalid.
    #[error(transparent)]
    InvalidName(#[from] InvalidIdError),
    /// The key has no tenant.
    #[error("a channel key is '{{tenant}}/{{channel}}'")]
    InvalidKey,
}

/// Sequence number of a message in its channel's log: dense, starting at 1. 0 is the offset before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// Identifier of one incarnation of a channel's log. A new epoch starts when the log was lost or reset. Offsets of
/// different epochs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub std::sync::Arc<str>);

/// A position in a channel's log: epoch and offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: Epoch,
    /// For a head, the offset of the newest message, or 0 if there is none.
    pub offset: Offset,
}

impl Offset {
    /// Offset before the first message.
    pub const START: Self = Self(0);

    /// Returns the following offset.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ChannelName {
    /// Parses a name such as `room:lobby`.
    ///
    /// # Errors
    /// [`InvalidChannelError`], whose text may be shown to a client.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelError> {
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("conversation", user)) => Ok(Self::Conversation(UserId::parse(user)?)),
            Some(("room", name)) => Ok(Self::Room(LocalName::parse(name)?)),
            Some(("topic", name)) => Ok(Self::Topic(LocalName::parse(name)?)),
            _ => Err(InvalidChannelError::UnknownKind),
        }
    }

    /// Returns the channel of this name in `tenant`.
    #[must_use]
    pub const fn in_tenant(self, tenant: TenantId) -> Channel {
        Channel { tenant, name: self }
    }

    /// Returns whether connections must `join` or `subscribe` to receive the channel. `everyone` and conversations
    /// reach their readers by identity.
    #[must_use]
    pub const fn requires_join(&self) -> bool {
        matches!(self, Self::Room(_) | Self::Topic(_))
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation(user) => write!(f, "conversation:{user}"),
            Self::Room(name) => write!(f, "room:{name}"),
            Self::Topic(name) => write!(f, "topic:{name}"),
            Self::Everyone => f.write_str("everyone"),
        }
    }
}

impl TryFrom<String> for ChannelName {
    type Error = InvalidChannelError;

    fn try_from(text: String) -> Result<Self, InvalidChannelError> {
        Self::parse(&text)
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.to_string()
    }
}

impl Channel {
    /// Parses a store key, as written by `Display`.
    ///
    /// # Errors
    /// [`InvalidChannelError`] if `key` is not `{tenant}/{name}`.
    pub fn from_key(key: &str) -> Result<Self, InvalidChannelError> {
        let (tenant, name) = key.split_once('/').ok_or(InvalidChannelError::InvalidKey)?;
        Ok(ChannelName::parse(name)?.in_tenant(TenantId::parse(tenant)?))
    }
}

/// Writes the store key, `{tenant}/{name}`.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["conversation:alice", "room:lobby", "topic:prices.eur", "everyone"] {
            assert_eq!(ChannelName::parse(text).map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        for text in ["", "lobby", "rooms:lobby", "everyone:x", "Room:lobby"] {
            assert_eq!(ChannelName::parse(text), Err(InvalidChannelError::UnknownKind), "{text:?}");
        }
        assert!(matches!(ChannelName::parse("room:"), Err(InvalidChannelError::InvalidName(_))));
        assert!(matches!(ChannelName::parse("room:a:b"), Err(InvalidChannelError::InvalidName(_))));
    }

    #[test]
    fn a_key_contains_the_tenant() {
        let channel = ChannelName::parse("room:lobby").unwrap().in_tenant(TenantId::parse("acme").unwrap());
        assert_eq!(channel.to_string(), "acme/room:lobby");
        assert_eq!(Channel::from_key("acme/room:lobby"), Ok(channel));
        assert_eq!(Channel::from_key("room:lobby"), Err(InvalidChannelError::InvalidKey));
    }
}
