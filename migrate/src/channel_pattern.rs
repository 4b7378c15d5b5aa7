//! Patterns that select channels by key, such as `acme/room:*`: `*` matches any characters, `?` exactly one.

use std::str::FromStr;

use handlers::channel::Channel;
use wildmatch::WildMatch;

/// Pattern over channel keys.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelPattern(WildMatch);

impl ChannelPattern {
    /// Returns the pattern that matches every channel.
    #[must_use]
    pub fn match_all() -> Self {
        Self(WildMatch::new("*"))
    }

    /// Returns whether the channel's key matches.
    #[must_use]
    pub fn matches_channel(&self, channel: &Channel) -> bool {
        self.0.matches(&channel.to_string())
    }
}

impl FromStr for ChannelPattern {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(WildMatch::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_channels() {
        let expected = [
            ("*", "acme/room:lobby", true),
            ("acme/*", "acme/room:lobby", true),
            ("acme/*", "other/room:lobby", false),
            ("*/room:*", "acme/room:lobby", true),
            ("*/room:l?bby", "acme/room:lobby", true),
            ("*/room:l?bby", "acme/room:lbby", false),
            ("acme/room:lobby", "acme/room:lobby", true),
            ("acme/room:lobby", "acme/room:lobby2", false),
            ("*a*b*c*", "x/room:aabbcc", true),
            ("*a*b*c", "x/room:aabbccd", false),
            ("", "acme/everyone", false),
        ];
        for (pattern, key, matches) in expected {
            assert_eq!(WildMatch::new(pattern).matches(key), matches, "{pattern} on {key}");
        }
    }
}
