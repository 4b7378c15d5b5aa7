//! Which channels: a pattern with `*` (any characters) and `?` (one) over keys such as `acme/room:lobby`.

use std::str::FromStr;

use handlers::channel::Channel;

/// A pattern over channel keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern(Vec<u8>);

impl ChannelPattern {
    /// The pattern that every channel matches.
    #[must_use]
    pub fn match_all() -> Self {
        Self(b"*".to_vec())
    }

    /// Whether a channel's key is one of the pattern's.
    #[must_use]
    pub fn matches_channel(&self, channel: &Channel) -> bool {
        matches_bytes(&self.0, channel.to_string().as_bytes())
    }
}

impl FromStr for ChannelPattern {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.as_bytes().to_vec()))
    }
}

/// Goes back to the last `*` alone when something does not fit, so a pattern costs at most its length times the text's.
fn matches_bytes(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut last_star = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((star, begun)) = last_star else { return false };
                last_star = Some((star, begun + 1));
                (at, read) = (star + 1, begun + 1);
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_channels() {
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
        for (pattern, key, fits) in expected {
            assert_eq!(matches_bytes(pattern.as_bytes(), key.as_bytes()), fits, "{pattern} on {key}");
        }
    }
}
