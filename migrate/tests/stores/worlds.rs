//! The four stores under test, each opened as an archive and as a message log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use handlers::archive::LogArchive;
use handlers::conformance::archive::ArchiveStore;
use handlers::memory::ManualClock;
use handlers::ports::{Clock as _, MessageLog, Timestamp};
use handlers_aws::log::DynamoLog;
use handlers_aws::tables;
use shim::config::Config;
use shim::embedded::{FileArchive, FileLog};
use shim::postgres::{PostgresArchive, PostgresClient, PostgresLog, PostgresRetention, PostgresSettings};
use shim::redis::{RedisClient, RedisLog, RedisRetention, RedisSettings};
use tempfile::TempDir;
use tests::dynamodb::DynamoDb;
use tests::postgres::PostgresServer;
use tests::redis::{RedisOptions, RedisServer};

/// Longer than the age of all messages in the suites, by any clock.
const MAX_AGE: Duration = Duration::from_secs(400 * 86_400);
const MAX_MESSAGES: u64 = 100_000;

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp(1_795_000_000_000)))
}

/// Returns a name that no other test case uses.
fn fresh_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Store that the command line can address.
pub(crate) trait World: ArchiveStore {
    /// Returns the value of `--from` or `--to`.
    fn endpoint(&self) -> String;
    /// Returns further environment variables that the command needs.
    fn environment(&self) -> Vec<(&'static str, String)>;
}

pub(crate) struct FileStore(TempDir);

impl FileStore {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

#[async_trait]
impl ArchiveStore for FileStore {
    async fn open_archive(&self) -> Box<dyn LogArchive> {
        Box::new(FileArchive::open(self.0.path()).unwrap())
    }

    async fn open_log(&self) -> Arc<dyn MessageLog> {
        let mut storage = Config::for_tests().storage;
        (storage.data_dir, storage.retention_age) = (self.path(), MAX_AGE);
        Arc::new(FileLog::open(&storage, clock()).unwrap())
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }
}

impl World for FileStore {
    fn endpoint(&self) -> String {
        format!("embedded:{}", self.0.path().display())
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

pub(crate) struct RedisStore(RedisServer);

impl RedisStore {
    /// Starts a server; with `append_only`, Redis keeps acknowledged writes across a restart.
    pub(crate) fn new(append_only: bool) -> Self {
        Self(RedisServer::start_with(RedisOptions { append_only, ..RedisOptions::default() }).unwrap())
    }

    async fn open(&self) -> RedisLog {
        let redis = RedisClient::connect(RedisSettings::single_server(&self.0.url())).await.unwrap();
        RedisLog::open_log(redis, clock(), RedisRetention { max_messages: MAX_MESSAGES, max_age: MAX_AGE })
            .await
            .unwrap()
    }
}

#[async_trait]
impl ArchiveStore for RedisStore {
    async fn open_archive(&self) -> Box<dyn LogArchive> {
        Box::new(self.open().await)
    }

    async fn open_log(&self) -> Arc<dyn MessageLog> {
        Arc::new(self.open().await)
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }
}

impl World for RedisStore {
    fn endpoint(&self) -> String {
        self.0.url()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

pub(crate) struct PostgresStore {
    pub(crate) server: Arc<PostgresServer>,
    pub(crate) schema: String,
}

impl PostgresStore {
    pub(crate) fn new(server: &Arc<PostgresServer>) -> Self {
        Self { server: server.clone(), schema: fresh_name() }
    }

    async fn open(&self) -> PostgresClient {
        let timeout = Duration::from_secs(5);
        let settings = PostgresSettings {
            schema: self.schema.clone(),
            connect_timeout: timeout,
            response_timeout: timeout,
            ..PostgresSettings::for_url(&self.server.url())
        };
        PostgresClient::connect(settings).await.unwrap()
    }
}

#[async_trait]
impl ArchiveStore for PostgresStore {
    async fn open_archive(&self) -> Box<dyn LogArchive> {
        Box::new(PostgresArchive::new(self.open().await))
    }

    async fn open_log(&self) -> Arc<dyn MessageLog> {
        let retention = PostgresRetention { max_messages: MAX_MESSAGES, max_age: MAX_AGE };
        Arc::new(PostgresLog::open_log(self.open().await, clock(), retention))
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }
}

impl World for PostgresStore {
    fn endpoint(&self) -> String {
        self.server.url()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("TWINWAY_POSTGRES_SCHEMA", self.schema.clone())]
    }
}

pub(crate) struct DynamoStore {
    emulator: Arc<DynamoDb>,
    table: String,
}

impl DynamoStore {
    pub(crate) async fn new(emulator: &Arc<DynamoDb>) -> Self {
        let store = Self { emulator: emulator.clone(), table: fresh_name() };
        tables::create_table(&store.client(), &store.table, tables::messages_table().unwrap()).await.unwrap();
        store
    }

    fn client(&self) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.emulator.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "example", None, None, "tests"))
            .build();
        Client::from_conf(config)
    }
}

#[async_trait]
impl ArchiveStore for DynamoStore {
    async fn open_archive(&self) -> Box<dyn LogArchive> {
        Box::new(DynamoLog::new(self.client(), &self.table, MAX_AGE, clock()))
    }

    async fn open_log(&self) -> Arc<dyn MessageLog> {
        Arc::new(DynamoLog::new(self.client(), &self.table, MAX_AGE, clock()))
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }
}

impl World for DynamoStore {
    fn endpoint(&self) -> String {
        format!("dynamodb:{}", self.table)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.emulator.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "example".to_owned()),
        ]
    }
}
