//! The contract suite of the message log.

use std::sync::Arc;

use handlers::conformance::log as logs;
use handlers::ports::MessageLog;
use shim::postgres::PostgresSettings;
use tests::postgres::{PostgresOptions, PostgresServer};
use tests::redis::Certificates;

use super::{log, settings};

async fn contract(fresh: impl Fn() -> PostgresSettings) {
    let fresh = async || {
        let log: Arc<dyn MessageLog> = Arc::new(log(&fresh()).await);
        log
    };
    logs::run_suite(fresh).await;
}

#[tokio::test]
async fn a_server_fulfils_the_contract() {
    let server = PostgresServer::start().unwrap();
    contract(|| settings(&server.url())).await;
}

#[tokio::test]
async fn a_server_with_serializable_transactions_fulfils_the_contract() {
    let server = PostgresServer::start().unwrap();
    server.query("ALTER SYSTEM SET default_transaction_isolation = 'serializable'").unwrap();
    server.query("SELECT pg_reload_conf()").unwrap();
    contract(|| settings(&server.url())).await;
}

#[tokio::test]
async fn a_server_with_verified_tls_fulfils_the_contract() {
    let tls = Certificates::generate().unwrap();
    let options = PostgresOptions { tls: Some(tls.clone()), ..PostgresOptions::default() };
    let server = PostgresServer::start_with(options).unwrap();
    contract(|| PostgresSettings { tls: crate::trusting(tls.authority()), ..settings(&server.url()) }).await;
}
