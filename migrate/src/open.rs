//! From an endpoint to an open store, with everything else as the server's configuration has it.
//!
//! The configuration is read as for embedded mode, with the endpoint's address in place of its own; what only a server needs
//! need not be there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use handlers::archive::LogArchive;
use handlers::ports::Clock;
use shim::config::{Config, Document, Environment, Flags, Strings, load};
use shim::embedded::FileArchive;
use shim::postgres::{Postgres, PostgresArchive};
use shim::redis::{Redis, RedisLog, RedisRetention};
use shim::secret::Secret;
use system_clock::{SystemClock, current_time};

use crate::endpoint::Endpoint;
use crate::keeping::Keeping;

/// An open store.
pub struct Opened {
    /// The store.
    pub archive: Box<dyn LogArchive>,
    /// What it leaves out of a copy.
    pub keeping: Keeping,
}

/// Opens a store. A missing one is made where that is a matter of tables or files.
///
/// # Errors
/// What is mistaken or not available, in words for the operator.
pub async fn open(endpoint: &Endpoint, file: Option<&PathBuf>) -> anyhow::Result<Opened> {
    let config = config(endpoint, file)?;
    let age = config.storage.retention_age;
    let archive: Box<dyn LogArchive> = match endpoint {
        Endpoint::Redis(_) => Box::new(redis(&config, age).await?),
        Endpoint::Postgres(_) => {
            let settings = config.postgres.context("no address of a PostgreSQL is given; set DATABASE_URL")?;
            Box::new(PostgresArchive::new(Postgres::connect(settings).await?))
        }
        Endpoint::DynamoDb(table) => Box::new(handlers_aws::wiring::message_log(table, age).await),
        Endpoint::Embedded(path) => {
            let directory = path.clone().unwrap_or(config.storage.data_dir);
            Box::new(tokio::task::spawn_blocking(move || FileArchive::open(&directory)).await??)
        }
    };
    let keeping = match endpoint {
        Endpoint::DynamoDb(_) => Keeping::Since(current_time(), age),
        _ => Keeping::Everything,
    };
    Ok(Opened { archive, keeping })
}

async fn redis(config: &Config, age: Duration) -> anyhow::Result<RedisLog> {
    let settings = config.redis.clone().context("no address of a Redis is given; set REDIS_URL")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let retention = RedisRetention { entries: config.storage.retention_entries, age };
    let redis = Redis::connect(settings).await?;
    RedisLog::open(redis, clock, retention).await.context("opening the message log failed")
}

fn config(endpoint: &Endpoint, file: Option<&PathBuf>) -> anyhow::Result<Config> {
    let document = Document::find(file.map(PathBuf::as_path), &Environment)?;
    let strings = Overlay::over(&Environment, endpoint);
    Ok(load(&strings, &Flags::default(), document.as_ref()).config?)
}

/// The environment with some variables in place of its own.
struct Overlay<'a> {
    base: &'a dyn Strings,
    own: BTreeMap<&'static str, String>,
}

impl<'a> Overlay<'a> {
    fn over(base: &'a dyn Strings, endpoint: &Endpoint) -> Self {
        let mut own =
            BTreeMap::from([("DEPLOYMENT_MODE", "embedded".to_owned()), ("TWINWAY_STORAGE_LOG", "memory".to_owned())]);
        let mut replace = |name, file, url: &Secret| {
            // A value and a file together would be a mistake.
            own.extend([(name, url.expose().to_owned()), (file, String::new())]);
        };
        match endpoint {
            Endpoint::Redis(Some(url)) => replace("REDIS_URL", "REDIS_URL_FILE", url),
            Endpoint::Postgres(Some(url)) => replace("DATABASE_URL", "DATABASE_URL_FILE", url),
            _ => {}
        }
        Self { base, own }
    }
}

impl Strings for Overlay<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.own.get(name).cloned().or_else(|| self.base.text(name))
    }

    fn names(&self) -> Vec<String> {
        self.base.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_s_address_replaces_the_configured_one_and_the_rest_stays() {
        let variables = [
            ("DATABASE_URL_FILE", "/nowhere"),
            ("TWINWAY_POSTGRES_SCHEMA", "chat"),
            ("DEPLOYMENT_MODE", "kubernetes"),
            ("TWINWAY_STORAGE_LOG", "redis"),
        ];
        let base: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let endpoint: Endpoint = "postgres://me@db/messages".parse().unwrap();
        let config = load(&Overlay::over(&base, &endpoint), &Flags::default(), None).config.unwrap();
        let postgres = config.postgres.unwrap();
        assert_eq!((postgres.url.expose(), postgres.schema.as_str()), ("postgres://me@db/messages", "chat"));
    }
}
