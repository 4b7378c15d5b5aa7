//! Comparison of the acknowledged messages with those that Redis has at the end of a run.

use std::collections::{HashMap, HashSet};

use super::recorder::RunRecorder;
use crate::redis::RedisDeployment;

/// Prefix and suffix of the keys that have the ids of a channel's messages.
const IDS_KEY_AFFIXES: (&str, &str) = ("twinway:log:{", "}:ids");

/// Returns the number of acknowledged messages that no master has.
///
/// # Errors
/// A server does not respond.
pub(super) fn count_lost(redis: &RedisDeployment, recorder: &RunRecorder) -> anyhow::Result<usize> {
    let stored = stored_ids(redis)?;
    let nothing = HashSet::new();
    let state = recorder.lock_state();
    let lost = state.channels.iter().flat_map(|(channel, epochs)| {
        let stored = stored.get(channel).unwrap_or(&nothing);
        epochs.iter().flat_map(|epoch| epoch.acknowledged.values()).filter(|id| !stored.contains(*id))
    });
    Ok(lost.count())
}

/// Returns the ids of the messages of each channel, by its name without the tenant.
fn stored_ids(redis: &RedisDeployment) -> anyhow::Result<HashMap<String, HashSet<String>>> {
    let mut stored: HashMap<String, HashSet<String>> = HashMap::new();
    for master in redis.masters()? {
        let keys = master.run_command(&["KEYS", "twinway:log:*:ids"])?;
        for key in keys.lines() {
            let channel = key.strip_prefix(IDS_KEY_AFFIXES.0).and_then(|key| key.strip_suffix(IDS_KEY_AFFIXES.1));
            let Some((_, name)) = channel.and_then(|channel| channel.split_once('/')) else { continue };
            let fields = master.run_command(&["HKEYS", key])?;
            // A field is the role and the name of the sender, and the id.
            let ids = fields.lines().filter_map(|field| field.rsplit('/').next()).map(str::to_owned);
            stored.entry(name.to_owned()).or_default().extend(ids);
        }
    }
    Ok(stored)
}
