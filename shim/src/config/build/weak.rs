//! Warnings about settings that work but are weak: unencrypted connections to other machines, key sets without an
//! audience, and secret files that every user of the machine can read.

use std::os::unix::fs::PermissionsExt as _;

use super::super::keys::KEYS;
use super::super::{Config, ConfigSources, DeploymentMode, JwksSource, LogStorage};

/// Permission bit of a file that every user can read.
const READABLE_BY_ALL: u32 = 0o004;

/// Returns one text per weak setting, which names its key.
pub(super) fn weak_setting_warnings(
    config: Option<&Config>,
    sources: &ConfigSources,
    mode: DeploymentMode,
) -> Vec<String> {
    let mut warnings = Vec::new();
    // Volumes of Kubernetes have the mode 0644 by default, and only the container can see them.
    if mode != DeploymentMode::Kubernetes {
        warnings.extend(sources.value_files().filter_map(readable_file_warning));
    }
    let Some(config) = config else { return warnings };
    let mut warn = |condition: bool, text: &str| warnings.extend(condition.then(|| text.to_owned()));
    let redis = config.redis.as_ref().filter(|_| mode == DeploymentMode::Kubernetes);
    warn(
        redis.is_some_and(crate::redis::RedisSettings::is_unencrypted),
        "redis.url: passwords and messages travel to another machine without encryption; use rediss:// unless the \
         network is trusted",
    );
    let postgres = config.postgres.as_ref().filter(|_| config.storage.log == LogStorage::Postgres);
    warn(
        postgres.is_some_and(crate::postgres::PostgresSettings::is_unverified),
        "postgres.url: sslmode permits reading the password on the network between this machine and the server; use \
         sslmode=verify-full unless the network is trusted",
    );
    warn(
        matches!(config.auth.jwks, Some(JwksSource::Document(_))) && config.auth.audiences.is_empty(),
        "auth.audience is not set, so tokens for every application of the identity provider are accepted; set it to \
         the audience of your tokens",
    );
    warnings
}

/// Returns a warning if every user of the machine can read the file of a secret.
fn readable_file_warning((path, file): (&'static str, &str)) -> Option<String> {
    let is_secret = KEYS.iter().any(|key| key.path == path && key.secret);
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    (is_secret && mode & READABLE_BY_ALL != 0).then(|| {
        format!(
            "{path}: every user of this machine can read the file {file} (mode {:04o}); run chmod 600 {file}",
            mode & 0o7777
        )
    })
}
