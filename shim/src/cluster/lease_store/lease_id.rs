//! Lease ids: node id and incarnation.
//!
//! A lease id is never reused: the incarnation is random, and a pod that lost its lease takes another one.

use std::fmt;

/// Identity of a pod while it holds one lease, written `NODE.INCARNATION`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseId {
    node_id: u16,
    text: String,
}

impl LeaseId {
    pub(super) fn new(node_id: u16, incarnation: &str) -> Self {
        Self { node_id, text: format!("{node_id}.{incarnation}") }
    }

    /// Parses `NODE.INCARNATION`; `None` for any other text.
    pub(in crate::cluster) fn parse(text: &str) -> Option<Self> {
        let node_id = text.split_once('.')?.0.parse().ok()?;
        Some(Self { node_id, text: text.to_owned() })
    }

    /// Returns the node id, which the ids of this pod's connections carry.
    #[must_use]
    pub const fn node_id(&self) -> u16 {
        self.node_id
    }

    /// Returns the random part.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        self.text.split_once('.').map_or("", |(_, incarnation)| incarnation)
    }

    /// Returns the lease id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
