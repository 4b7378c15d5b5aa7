//! API keys of clients, for APIs whose `$connect` requires one (developer guide,
//! `apigateway-websocket-control-access`).
//!
//! A presented key is compared with every configured key in constant time. Not to be confused with the keys of the HTTP
//! API ([`ApiKeyConfig`](crate::config::ApiKeyConfig)), which identify backends.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use gateway::event::ApiKey;

use crate::secret::Secret;

/// API key of a client.
#[derive(Debug, Clone)]
pub struct ClientKeyConfig {
    /// Id of the key, `identity.apiKeyId` in events.
    pub id: String,
    pub key: Secret,
}

/// All API keys of clients. `Debug` shows their number only.
#[derive(Default, Clone)]
pub struct ClientKeys(Vec<ClientKeyConfig>);

impl ClientKeys {
    #[must_use]
    pub const fn new(keys: Vec<ClientKeyConfig>) -> Self {
        Self(keys)
    }

    /// Returns the presented key as it appears in events, or `None` if it is not configured.
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
    fn idn_3_only_a_complete_key_matches_and_debug_hides_it() {
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
