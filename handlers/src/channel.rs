//! Channels: named, ordered logs with subscribers.
//!
//! A channel belongs to one tenant. On the wire only its name is seen (`room:lobby`), because a connection never leaves
//! its tenant; in stores and between pods the key carries both (`acme/room:lobby`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidIdError, Name, TenantId, UserId};

/// What a channel is, and with it who may read and write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ChannelName {
    /// A user and all admins of the tenant.
    Conversation(UserId),
    /// The connections that joined.
    Room(Name),
    /// A feed that backends and admins push to; the connections that subscribed only read.
    Topic(Name),
    /// Every connection of the tenant.
    Everyone,
}

/// A channel name within its tenant: the key of logs, subscriptions and audiences.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel {
    /// Whose channel it is.
    pub tenant: TenantId,
    /// Which of that tenant's channels.
    pub name: ChannelName,
}

/// Why a text names no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelError {
    /// No known prefix.
    #[error("a channel is 'conversation:{{user}}', 'room:{{name}}', 'topic:{{name}}' or 'everyone'")]
    UnknownKind,
    /// A known prefix with a bad name behind it.
    #[error(transparent)]
    InvalidName(#[from] InvalidIdError),
    /// A key without a tenant in front.
    #[error("a channel key is '{{tenant}}/{{channel}}'")]
    InvalidKey,
}

/// A place in a channel's log: 1 for the first message, then dense. 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// Which incarnation of a channel's log an offset belongs to. It changes when a log was lost or reset, and offsets of
/// different epochs do not compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub std::sync::Arc<str>);

/// The end of a channel's log at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The log's incarnation.
    pub epoch: Epoch,
    /// The offset of the last message, 0 while there is none.
    pub offset: Offset,
}

impl Offset {
    /// Before the first message.
    pub const START: Self = Self(0);

    /// The offset that follows.
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
    /// Reads a wire name.
    ///
    /// # Errors
    /// [`InvalidChannelError`], with a text that can be shown to a client.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelError> {
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("conversation", user)) => Ok(Self::Conversation(UserId::parse(user)?)),
            Some(("room", name)) => Ok(Self::Room(Name::parse(name)?)),
            Some(("topic", name)) => Ok(Self::Topic(Name::parse(name)?)),
            _ => Err(InvalidChannelError::UnknownKind),
        }
    }

    /// The channel of that name in `tenant`.
    #[must_use]
    pub const fn in_tenant(self, tenant: TenantId) -> Channel {
        Channel { tenant, name: self }
    }

    /// Whether belonging to it takes a `join` or `subscribe`. To its conversation and to everyone a connection belongs
    /// by being who it is.
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
    /// Reads a store key, the opposite of `Display`.
    ///
    /// # Errors
    /// [`InvalidChannelError`] when it is none.
    pub fn from_key(key: &str) -> Result<Self, InvalidChannelError> {
        let (tenant, name) = key.split_once('/').ok_or(InvalidChannelError::InvalidKey)?;
        Ok(ChannelName::parse(name)?.in_tenant(TenantId::parse(tenant)?))
    }
}

/// The store key, `{tenant}/{name}`.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_were_written() {
        for text in ["conversation:alice", "room:lobby", "topic:prices.eur", "everyone"] {
            assert_eq!(ChannelName::parse(text).map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_wrong_name_is_told_what_a_channel_is() {
        for text in ["", "lobby", "rooms:lobby", "everyone:x", "Room:lobby"] {
            assert_eq!(ChannelName::parse(text), Err(InvalidChannelError::UnknownKind), "{text:?}");
        }
        assert!(matches!(ChannelName::parse("room:"), Err(InvalidChannelError::InvalidName(_))));
        assert!(matches!(ChannelName::parse("room:a:b"), Err(InvalidChannelError::InvalidName(_))));
    }

    #[test]
    fn a_key_carries_the_tenant() {
        let channel = ChannelName::parse("room:lobby").unwrap().in_tenant(TenantId::parse("acme").unwrap());
        assert_eq!(channel.to_string(), "acme/room:lobby");
        assert_eq!(Channel::from_key("acme/room:lobby"), Ok(channel));
        assert_eq!(Channel::from_key("room:lobby"), Err(InvalidChannelError::InvalidKey));
    }
}
