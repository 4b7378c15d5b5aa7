//! Contract of the archive port, on every store.

use std::sync::Arc;

use handlers::conformance::archive;
use tests::dynamodb::DynamoDb;
use tests::postgres::PostgresServer;

use super::worlds::{DynamoStore, FileStore, PostgresStore, RedisStore};

#[tokio::test]
async fn the_embedded_log_fulfils_the_contract() {
    archive::run_suite(async || FileStore::new()).await;
}

#[tokio::test]
async fn redis_fulfils_the_contract() {
    for append_only in [true, false] {
        archive::run_suite(async || RedisStore::new(append_only)).await;
    }
}

#[tokio::test]
async fn postgresql_fulfils_the_contract() {
    let server = Arc::new(PostgresServer::start().unwrap());
    archive::run_suite(async || PostgresStore::new(&server)).await;
}

#[tokio::test]
async fn dynamodb_fulfils_the_contract() {
    let Some(emulator) = DynamoDb::start().await.map(Arc::new) else { return };
    archive::run_suite(async || DynamoStore::new(&emulator).await).await;
}
