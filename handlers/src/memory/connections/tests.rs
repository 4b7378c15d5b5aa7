//! The contract suite, concurrent threads, and cleanup.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::conformance::connections::{ConnectionStoreFixture, run_suite};
use crate::id::UserId;
use crate::identity::{Identity, Role};
use crate::memory::ManualClock;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn connection(id: &str) -> ClientConnection {
    let identity = Identity {
        tenant: TenantId::default_tenant(),
        user: UserId::parse("alice").unwrap(),
        role: Role::User,
        expires_at: None,
    };
    let room = Channel::from_key("default/room:lobby").unwrap();
    ClientConnection {
        id: ConnectionId::parse(id).unwrap(),
        identity,
        connected_at: NOW,
        channels: BTreeSet::from([room]),
    }
}

#[tokio::test]
async fn it_fulfils_the_contract() {
    run_suite(async || {
        let clock = Arc::new(ManualClock::new(NOW));
        ConnectionStoreFixture { store: Arc::new(MemoryConnections::new(clock.clone())), now: NOW, clock: Some(clock) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_concurrent_delete_returns_the_record() {
    let store = Arc::new(MemoryConnections::new(Arc::new(ManualClock::new(NOW))));
    for round in 0..100 {
        let record = connection(&format!("c{round}"));
        store.put_connection(&record).await.unwrap();
        let mut deletions = JoinSet::new();
        for _ in 0..4 {
            let (store, id) = (store.clone(), record.id.clone());
            deletions.spawn(async move { store.delete_connection(&id).await.unwrap().is_some() });
        }
        assert_eq!(deletions.join_all().await.into_iter().filter(|deleted| *deleted).count(), 1);
    }
}

#[tokio::test]
async fn deleted_and_expired_connections_leave_nothing_in_the_index() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = MemoryConnections::new(clock.clone());
    for number in 0..100 {
        store.put_connection(&connection(&format!("c{number}"))).await.unwrap();
    }
    for number in 0..50 {
        store.delete_connection(&ConnectionId::parse(&format!("c{number}")).unwrap()).await.unwrap();
    }
    clock.advance(limits::CONNECTION_RECORD_TTL + Duration::from_secs(1));
    assert_eq!(store.find_connection(&ConnectionId::parse("c99").unwrap()).await.unwrap(), None);
    let state = store.state.lock();
    assert!(state.records.is_empty() && state.expiries.is_empty() && state.index.is_empty());
}

#[tokio::test]
async fn records_of_a_tenant_share_its_name() {
    let store = MemoryConnections::new(Arc::new(ManualClock::new(NOW)));
    for id in ["c1", "c2"] {
        let mut record = connection(id);
        record.identity.tenant = TenantId::parse("acme").unwrap();
        store.put_connection(&record).await.unwrap();
    }
    let tenant =
        async |id| store.find_connection(&ConnectionId::parse(id).unwrap()).await.unwrap().unwrap().identity.tenant;
    assert!(std::ptr::eq(tenant("c1").await.as_str(), tenant("c2").await.as_str()));
}
