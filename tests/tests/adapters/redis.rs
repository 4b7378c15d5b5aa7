//! The Redis adapters and their client, on real servers.
//!
//! Both contract suites run on every topology; further tests cause start-up errors and outages.

mod connections;
mod contracts;
mod failover;
mod log;
mod memory;
mod outage;
mod pubsub;
mod revocations;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handlers::memory::ManualClock;
use handlers::ports::Timestamp;
use shim::redis::{RedisClient, RedisLog, RedisRetention, RedisSettings};

/// Returns a prefix that no other case uses.
fn fresh_prefix() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Returns settings with timeouts for a busy host.
pub(crate) fn settings(url: &str) -> RedisSettings {
    // Without a default provider the first `rediss://` connection panics; another test may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let timeout = Duration::from_secs(5);
    RedisSettings { connect_timeout: timeout, response_timeout: timeout, ..RedisSettings::single_server(url) }
}

async fn connect(settings: &RedisSettings) -> RedisClient {
    let fresh = RedisSettings { prefix: fresh_prefix(), ..settings.clone() };
    RedisClient::connect(fresh).await.expect("the server is available")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp(1_795_000_000_000)))
}

/// Opens a log with sufficient retention for the contract suite.
async fn log(redis: RedisClient) -> Arc<RedisLog> {
    let retention = RedisRetention { max_messages: 1_000, max_age: Duration::from_secs(86_400) };
    Arc::new(RedisLog::open_log(redis, clock(), retention).await.expect("the server is available"))
}
