//! The PostgreSQL message log and its client, on real servers.
//!
//! The contract suite runs on a plain server and over TLS; further tests cause start-up errors and outages.

mod contracts;
mod log;
mod outage;
mod retention;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handlers::channel::{Channel, Offset};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::memory::ManualClock;
use handlers::ports::{AppendRequest, Clock as _, LogRange, MessageLog, MessageSender, Timestamp};
use serde_json::value::RawValue;
use shim::postgres::{PostgresClient, PostgresLog, PostgresRetention, PostgresSettings};

/// Returns settings with timeouts for a busy host, in a schema that no other case uses.
pub(crate) fn settings(url: &str) -> PostgresSettings {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let timeout = Duration::from_secs(5);
    PostgresSettings {
        schema: format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        connect_timeout: timeout,
        response_timeout: timeout,
        ..PostgresSettings::for_url(url)
    }
}

async fn connect(settings: &PostgresSettings) -> PostgresClient {
    PostgresClient::connect(settings.clone()).await.expect("the server is available")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp(1_795_000_000_000)))
}

/// Opens a log with sufficient retention for the contract suite.
async fn log(settings: &PostgresSettings) -> PostgresLog {
    let retention = PostgresRetention { max_messages: 1_000, max_age: Duration::from_secs(86_400) };
    PostgresLog::open_log(connect(settings).await, clock(), retention)
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

fn message(id: &str) -> AppendRequest {
    AppendRequest {
        channel: lobby(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse(id).unwrap(),
        sent_at: clock().now(),
        body: Arc::from(RawValue::from_string(format!("{id:?}")).unwrap()),
    }
}

/// Returns the oldest retained offset, and all offsets.
async fn offsets(log: &PostgresLog) -> (u64, Vec<u64>) {
    let slice = log.read(&lobby(), LogRange::After(Offset::START), 10_000, usize::MAX).await.unwrap();
    (slice.first.0, slice.entries.iter().map(|entry| entry.offset.0).collect())
}
