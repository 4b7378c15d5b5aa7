//! Policy of rooms and topics: who may join them, and who may list their readers by name.
//!
//! [`ChannelGrants`] are the rooms and topics of one user, from a claim of the token or from the default of the
//! deployment. They restrict users; admins and services may read every channel of their tenant. [`PresenceNames`] is the
//! same for all users of a deployment (`docs/adr/0040-rooms-and-topics-by-grant.md`).

use std::fmt;
use std::sync::Arc;

use crate::channel::ChannelName;
use crate::id::LocalName;

/// Maximum size of the patterns of one user, in bytes, spaces included. They are part of the authorizer context, which
/// may have 8 KiB with everything else ("Lambda authorizers", API Gateway guide), and of every event.
pub const MAX_GRANT_BYTES: usize = 2 * 1024;

/// Context key of [`ChannelGrants`].
pub const CHANNELS_KEY: &str = "channels";
/// Word for an empty list, in configurations and in the authorizer context.
const NO_CHANNELS: &str = "none";

/// Rooms and topics that a user may join and read: all of the tenant, or those that match a pattern.
///
/// A pattern is the name of a room or topic, or a prefix of names that ends with `*`.
///
/// ```
/// use handlers::channel::ChannelName;
/// use handlers::channel_policy::ChannelGrants;
///
/// let grants = ChannelGrants::parse(["room:support", "topic:news.*"])?;
/// assert!(grants.allows(&ChannelName::parse("topic:news.eu")?));
/// assert!(!grants.allows(&ChannelName::parse("room:board")?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelGrants {
    /// Patterns separated by spaces; `None` for all channels.
    patterns: Option<Arc<str>>,
}

/// A list of patterns that is invalid. It contains no pattern, because lists of tokens are input of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrantsError {
    /// A pattern has another form.
    #[error("must be a list of 'room:{{name}}' and 'topic:{{name}}', where a name may end with '*', or 'none'")]
    InvalidPattern,
    /// All patterns together are too long.
    #[error("must have at most {MAX_GRANT_BYTES} bytes: use prefixes such as 'room:team-*'")]
    TooLong,
}

impl ChannelGrants {
    /// Parses patterns. An empty list, and the single word `none`, grant no channel.
    ///
    /// # Errors
    /// [`InvalidGrantsError`], as text for an operator.
    pub fn parse<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, InvalidGrantsError> {
        let patterns: Vec<&str> = patterns.into_iter().map(str::trim).collect();
        if patterns == [NO_CHANNELS] {
            return Ok(Self::parse_text(""));
        }
        if !patterns.iter().all(|pattern| is_pattern(pattern)) {
            return Err(InvalidGrantsError::InvalidPattern);
        }
        let text = patterns.join(" ");
        if text.len() > MAX_GRANT_BYTES { Err(InvalidGrantsError::TooLong) } else { Ok(Self::parse_text(&text)) }
    }

    /// Returns the value in the authorizer context; `None` when all channels are granted.
    #[must_use]
    pub fn context_value(&self) -> Option<&str> {
        self.patterns.as_deref().map(|patterns| if patterns.is_empty() { NO_CHANNELS } else { patterns })
    }

    /// Reads a value written by [`Self::context_value`].
    #[must_use]
    pub fn from_context(value: Option<&str>) -> Self {
        let patterns = value.map(|text| if text == NO_CHANNELS { "" } else { text });
        Self { patterns: patterns.map(Arc::from) }
    }

    /// Returns whether a room or topic is granted. Other channels are granted by identity, not by this list.
    #[must_use]
    pub fn allows(&self, channel: &ChannelName) -> bool {
        let Some(patterns) = &self.patterns else { return true };
        let (kind, name) = match channel {
            ChannelName::Room(name) => ("room", name.as_str()),
            ChannelName::Topic(name) => ("topic", name.as_str()),
            ChannelName::Conversation(_) | ChannelName::Everyone => return true,
        };
        patterns.split(' ').filter_map(|pattern| pattern.split_once(':')).any(|(pattern_kind, pattern)| {
            pattern_kind == kind
                && pattern.strip_suffix('*').map_or_else(|| name == pattern, |prefix| name.starts_with(prefix))
        })
    }

    fn parse_text(text: &str) -> Self {
        let has = |wanted: &str| text.split(' ').any(|pattern| pattern == wanted);
        let all = has("room:*") && has("topic:*");
        Self { patterns: if all { None } else { Some(Arc::from(text)) } }
    }
}

/// Writes the patterns, separated by commas, as in a configuration.
impl fmt::Display for ChannelGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context_value().unwrap_or("room:* topic:*").replace(' ', ","))
    }
}

/// Channels whose readers users may list by name. The numbers of connections and users are always listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PresenceNames {
    /// Their own conversation and the rooms that they joined. User ids are often e-mail addresses, so the users of a
    /// tenant are not listed to each of them.
    #[default]
    Rooms,
    /// All channels that they may read, `everyone` included.
    All,
}

impl PresenceNames {
    /// Parses the value of a configuration.
    ///
    /// # Errors
    /// The rule that the value violates, as text for an operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "rooms" => Ok(Self::Rooms),
            "all" => Ok(Self::All),
            _ => Err("must be 'rooms' or 'all'".to_owned()),
        }
    }

    /// Returns whether a user who may read `channel` may list its readers by name.
    #[must_use]
    pub const fn lists(self, channel: &ChannelName) -> bool {
        match (self, channel) {
            (Self::All, _) | (Self::Rooms, ChannelName::Room(_) | ChannelName::Conversation(_)) => true,
            (Self::Rooms, ChannelName::Topic(_) | ChannelName::Everyone) => false,
        }
    }
}

fn is_pattern(pattern: &str) -> bool {
    let Some(("room" | "topic", name)) = pattern.split_once(':') else { return false };
    name == "*" || LocalName::parse(name.strip_suffix('*').unwrap_or(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(grants: &ChannelGrants, name: &str) -> bool {
        grants.allows(&ChannelName::parse(name).unwrap())
    }

    #[test]
    fn names_and_prefixes_grant_rooms_and_topics_of_their_kind_only() {
        let grants = ChannelGrants::parse(["room:lobby", "room:team-*", "topic:*"]).unwrap();
        for name in ["room:lobby", "room:team-", "room:team-a", "topic:x", "conversation:bob", "everyone"] {
            assert!(allowed(&grants, name), "{name}");
        }
        for name in ["room:lobby2", "room:tea", "room:Team-a", "room:x"] {
            assert!(!allowed(&grants, name), "{name}");
        }
    }

    #[test]
    fn an_empty_list_grants_nothing_and_two_wildcards_everything() {
        for list in [Vec::new(), vec!["none"]] {
            let grants = ChannelGrants::parse(list).unwrap();
            assert!(!allowed(&grants, "room:a") && allowed(&grants, "everyone"));
            assert_eq!((grants.context_value(), grants.to_string().as_str()), (Some("none"), "none"));
        }
        let all = ChannelGrants::parse(["topic:*", "room:a", "room:*"]).unwrap();
        assert_eq!(all, ChannelGrants::default());
        assert_eq!((all.context_value(), all.to_string().as_str()), (None, "room:*,topic:*"));
    }

    #[test]
    fn the_context_round_trips() {
        for list in [vec!["room:a", "topic:b*"], vec![], vec!["room:*", "topic:*"]] {
            let grants = ChannelGrants::parse(list).unwrap();
            assert_eq!(ChannelGrants::from_context(grants.context_value()), grants);
        }
    }

    #[test]
    fn other_patterns_are_rejected() {
        for pattern in
            ["", "*", "room", "room:", "room:a b", "room:*a", "room:a**", "everyone", "conversation:bob", "none"]
        {
            let list = ["room:a", pattern];
            assert_eq!(ChannelGrants::parse(list), Err(InvalidGrantsError::InvalidPattern), "{pattern:?}");
        }
        let long = format!("room:{}", "x".repeat(100));
        let list = vec![long.as_str(); 20];
        assert_eq!(ChannelGrants::parse(list), Err(InvalidGrantsError::TooLong));
    }

    #[test]
    fn presence_names_are_those_of_rooms_unless_all_are_configured() {
        let listed = |policy: PresenceNames| {
            ["conversation:bob", "room:a", "topic:a", "everyone"]
                .map(|name| policy.lists(&ChannelName::parse(name).unwrap()))
        };
        assert_eq!(PresenceNames::parse("rooms").map(listed), Ok([true, true, false, false]));
        assert_eq!(PresenceNames::parse("all").map(listed), Ok([true; 4]));
        assert!(PresenceNames::parse("none").is_err());
    }
}
