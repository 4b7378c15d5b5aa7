//! The contract of archives, on every store.

use std::sync::Arc;

use handlers::conformance::archive;
use tests::dynamodb::DynamoDb;
use tests::postgres::PostgresServer;

use super::worlds::{DynamoStore, FileStore, PostgresStore, RedisStore};

#[tokio::test]
async fn a_file_keeps_it() {
    archive::run_suite(async || FileStore::new()).await;
}

#[tokio::test]
async fn redis_keeps_it() {
    for append_only in [true, false] {
        archive::run_suite(async || RedisStore::new(append_only)).await;
    }
}

#[tokio::test]
async fn postgresql_keeps_it() {
    let server = Arc::new(PostgresServer::start().unwrap());
    archive::run_suite(async || PostgresStore::on(&server)).await;
}

#[tokio::test]
async fn dynamodb_keeps_it() {
    let Some(emulator) = DynamoDb::start().await.map(Arc::new) else { return };
    archive::run_suite(async || DynamoStore::on(&emulator).await).await;
}
