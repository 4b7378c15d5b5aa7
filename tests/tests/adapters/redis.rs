//! The Redis adapters and the link below them, on real servers.
//!
//! Both contract suites run on every topology; what can go wrong at the start and later is made to go wrong.

mod connections;
mod contracts;
mod log;
mod memory;
mod outage;
mod pubsub;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handlers::memory::ManualClock;
use handlers::ports::Timestamp;
use shim::redis::{RedisClient, RedisLog, RedisRetention, RedisSettings};

/// A prefix that no other case uses.
fn fresh_prefix() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Settings for a machine that may be busy.
fn settings(url: &str) -> RedisSettings {
    // Without a default provider the first `rediss://` connection panics; another test may have chosen it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let patience = Duration::from_secs(5);
    RedisSettings { connect_timeout: patience, response_timeout: patience, ..RedisSettings::single_server(url) }
}

async fn connect(settings: &RedisSettings) -> RedisClient {
    let fresh = RedisSettings { prefix: fresh_prefix(), ..settings.clone() };
    RedisClient::connect(fresh).await.expect("the server is there")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp(1_795_000_000_000)))
}

/// A log that keeps enough for the contract's suite.
async fn log(redis: RedisClient) -> Arc<RedisLog> {
    let retention = RedisRetention { max_messages: 1_000, max_age: Duration::from_secs(86_400) };
    Arc::new(RedisLog::open_log(redis, clock(), retention).await.expect("the server is there"))
}
