//! What a pod is called while it holds one lease.
//!
//! Invariant: names are never used twice: the boot id is random, and a pod that lost its lease takes another one.

use std::fmt;

/// The name of a pod for as long as it holds one lease: its node number and a random boot id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseId {
    node: u16,
    text: String,
}

impl LeaseId {
    pub(super) fn new(node: u16, boot: &str) -> Self {
        Self { node, text: format!("{node}.{boot}") }
    }

    /// The name as it is written; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let node = text.split_once('.')?.0.parse().ok()?;
        Some(Self { node, text: text.to_owned() })
    }

    /// The node number, which ids of this pod's connections carry.
    #[must_use]
    pub const fn node_id(&self) -> u16 {
        self.node
    }

    /// The boot id.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        self.text.split_once('.').map_or("", |(_, boot)| boot)
    }

    /// The name as it is written.
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
