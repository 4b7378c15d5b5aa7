//! The API keys that clients connect with, where `$connect` asks for one (developer guide,
//! `apigateway-websocket-control-access`).
//!
//! Invariant: every key is compared with what was presented, whole and in constant time. These keys say which client
//! connects; those of the HTTP API, which say which service pushes, are others.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use gateway::event::ApiKey;

use crate::secret::Secret;

/// An API key that a client connects with.
#[derive(Debug, Clone)]
pub struct ClientKeyConfig {
    /// Its id, which events show beside it.
    pub id: String,
    /// The key.
    pub key: Secret,
}

/// The keys, at most as many as the configuration has. `Debug` shows none.
#[derive(Default, Clone)]
pub struct ClientKeys(Vec<ClientKeyConfig>);

impl ClientKeys {
    /// These keys.
    #[must_use]
    pub const fn new(keys: Vec<ClientKeyConfig>) -> Self {
        Self(keys)
    }

    /// The key that was presented, as events show it; `None` when it is no client's.
    #[must_use]
    pub fn find_key(&self, presented: &[u8]) -> Option<ApiKey> {
        let found = self.0.iter().fold(None, |found, entry| {
            let same = verify_slices_are_equal(entry.key.expose().as_bytes(), presented).is_ok();
            if same { Some(entry) } else { found }
        })?;
        Some(ApiKey { key: found.key.expose().into(), id: found.id.as_str().into() })
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientKeys").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idn_3_a_key_is_found_whole_and_never_shown() {
        let entry = |id: &str, key: &str| ClientKeyConfig { id: id.to_owned(), key: Secret::new(key) };
        let keys = ClientKeys::new(vec![entry("a", "key-of-the-first"), entry("b", "key-of-the-second")]);
        let found = keys.find_key(b"key-of-the-second").unwrap();
        assert_eq!((&*found.id, &*found.key), ("b", "key-of-the-second"));
        for presented in ["", "key-of-the", "key-of-the-first ", "KEY-OF-THE-FIRST"] {
            assert!(keys.find_key(presented.as_bytes()).is_none(), "{presented}");
        }
        assert_eq!(format!("{keys:?} {found:?}"), "ClientKeys(2) ApiKey(..)");
    }
}
