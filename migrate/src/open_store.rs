//! Opening of the store that an endpoint selects; all other settings come from the server's configuration.
//!
//! The configuration is read as for embedded mode, with the endpoint's URL in place of the configured one, so settings
//! that only a server needs may be missing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use handlers::archive::LogArchive;
use handlers::ports::Clock;
use shim::config::{Config, ConfigFile, FlagValues, ProcessEnvironment, VariableSource, load_config};
use shim::embedded::FileArchive;
use shim::postgres::{PostgresArchive, PostgresClient};
use shim::redis::{RedisClient, RedisLog, RedisRetention};
use shim::secret::Secret;
use system_clock::{SystemClock, current_time};

use crate::endpoint::StoreEndpoint;
use crate::retention::TargetRetention;

/// An open store.
pub struct OpenStore {
    /// The store's log.
    pub archive: Box<dyn LogArchive>,
    /// Retention of the store as the target of a copy.
    pub retention: TargetRetention,
}

/// Opens a store, and creates missing tables or files.
///
/// # Errors
/// An invalid configuration or an unavailable store, with a text for the operator.
pub async fn open_store(endpoint: &StoreEndpoint, file: Option<&PathBuf>) -> anyhow::Result<OpenStore> {
    let config = store_config(endpoint, file)?;
    let age = config.storage.retention_age;
    let archive: Box<dyn LogArchive> = match endpoint {
        StoreEndpoint::Redis(_) => Box::new(open_redis_log(&config, age).await?),
        StoreEndpoint::Postgres(_) => {
            let settings = config.postgres.context("no PostgreSQL URL configured; set DATABASE_URL")?;
            Box::new(PostgresArchive::new(PostgresClient::connect(settings).await?))
        }
        StoreEndpoint::DynamoDb(table) => Box::new(handlers_aws::wiring::open_message_log(table, age).await),
        StoreEndpoint::Embedded(path) => {
            let directory = path.clone().unwrap_or(config.storage.data_dir);
            Box::new(tokio::task::spawn_blocking(move || FileArchive::open(&directory)).await??)
        }
    };
    let retention = match endpoint {
        StoreEndpoint::DynamoDb(_) => TargetRetention::MaxAge(current_time(), age),
        _ => TargetRetention::Unlimited,
    };
    Ok(OpenStore { archive, retention })
}

async fn open_redis_log(config: &Config, age: Duration) -> anyhow::Result<RedisLog> {
    let settings = config.redis.clone().context("no Redis URL configured; set REDIS_URL")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let retention = RedisRetention { max_messages: config.storage.retention_entries, max_age: age };
    let redis = RedisClient::connect(settings).await?;
    RedisLog::open_log(redis, clock, retention).await.context("opening the message log failed")
}

fn store_config(endpoint: &StoreEndpoint, file: Option<&PathBuf>) -> anyhow::Result<Config> {
    let document = ConfigFile::find(file.map(PathBuf::as_path), &ProcessEnvironment)?;
    let environment = EnvironmentOverlay::for_endpoint(&ProcessEnvironment, endpoint);
    Ok(load_config(&environment, &FlagValues::default(), document.as_ref()).config?)
}

/// Environment in which some variables have other values.
struct EnvironmentOverlay<'a> {
    base: &'a dyn VariableSource,
    overrides: BTreeMap<&'static str, String>,
}

impl<'a> EnvironmentOverlay<'a> {
    fn for_endpoint(base: &'a dyn VariableSource, endpoint: &StoreEndpoint) -> Self {
        let mut overrides =
            BTreeMap::from([("DEPLOYMENT_MODE", "embedded".to_owned()), ("TWINWAY_STORAGE_LOG", "memory".to_owned())]);
        let mut replace = |name, file, url: &Secret| {
            // The configuration rejects a value together with a file, so an empty text unsets the file.
            overrides.extend([(name, url.expose().to_owned()), (file, String::new())]);
        };
        match endpoint {
            StoreEndpoint::Redis(Some(url)) => replace("REDIS_URL", "REDIS_URL_FILE", url),
            StoreEndpoint::Postgres(Some(url)) => replace("DATABASE_URL", "DATABASE_URL_FILE", url),
            _ => {}
        }
        Self { base, overrides }
    }
}

impl VariableSource for EnvironmentOverlay<'_> {
    fn read_variable(&self, name: &str) -> Option<String> {
        self.overrides.get(name).cloned().or_else(|| self.base.read_variable(name))
    }

    fn variable_names(&self) -> Vec<String> {
        self.base.variable_names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_url_replaces_the_configured_one_and_other_settings_remain() {
        let variables = [
            ("DATABASE_URL_FILE", "/nowhere"),
            ("TWINWAY_POSTGRES_SCHEMA", "chat"),
            ("DEPLOYMENT_MODE", "kubernetes"),
            ("TWINWAY_STORAGE_LOG", "redis"),
        ];
        let base: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let endpoint: StoreEndpoint = "postgres://me@db/messages".parse().unwrap();
        let config = load_config(&EnvironmentOverlay::for_endpoint(&base, &endpoint), &FlagValues::default(), None)
            .config
            .unwrap();
        let postgres = config.postgres.unwrap();
        assert_eq!((postgres.url.expose(), postgres.schema.as_str()), ("postgres://me@db/messages", "chat"));
    }
}
