//! The contract of [`ConnectionStore`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{channel_from_key, client_connection, connection_id, everyone_channel, tenant_id};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::id::UserId;
use crate::identity::Role;
use crate::limits;
use crate::memory::ManualClock;
use crate::ports::{ChannelChange, ClientConnection, ConnectionStore, Page, StoreError, Timestamp};

/// A fresh, empty store.
pub struct ConnectionStoreFixture {
    /// The store.
    pub store: Arc<dyn ConnectionStore>,
    /// The present moment by the store's clock.
    pub now: Timestamp,
    /// The store's clock, where it can be moved; without one, expiry is not tested.
    pub clock: Option<Arc<ManualClock>>,
}

/// Runs every case, each on a store of its own.
pub async fn run_suite(fresh: impl AsyncFn() -> ConnectionStoreFixture) {
    records_read_back(fresh().await).await;
    a_put_replaces_the_record_whole(fresh().await).await;
    one_removal_wins(fresh().await).await;
    channels_change_in_one_step(fresh().await).await;
    a_connection_at_the_channel_limit_joins_no_more(fresh().await).await;
    changes_at_once_lose_nothing(fresh().await).await;
    a_change_does_not_recreate_a_deleted_record(fresh().await).await;
    audiences_have_their_members(fresh().await).await;
    pages_are_ordered_and_totals_exact(fresh().await).await;
    occupied_channels_are_listed(fresh().await).await;
    an_unknown_page_token_is_rejected(fresh().await).await;
    expired_records_are_absent(fresh().await).await;
}

/// What was put is found, as it was put; what was not, is not.
pub async fn records_read_back(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let mut alice = client_connection("a1", "acme", "alice", Role::User, now);
    alice.identity.expires_at = Some(now.unix_seconds() + 60);
    alice.channels.insert(channel_from_key("acme/room:lobby"));
    store.put_connection(&alice).await.expect("put");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), Some(alice), "a record reads back as it was put");
    assert_eq!(store.find_connection(&connection_id("b1")).await.expect("find"), None, "what was never put is absent");
}

/// A second put of the same id leaves nothing of the first, in no index.
pub async fn a_put_replaces_the_record_whole(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let mut first = client_connection("a1", "acme", "alice", Role::User, now);
    first.channels.insert(channel_from_key("acme/room:lobby"));
    let second = client_connection("a1", "acme", "bob", Role::Admin, now);
    store.put_connection(&first).await.expect("put");
    store.put_connection(&second).await.expect("put again");
    assert_eq!(store.find_connection(&second.id).await.expect("find"), Some(second), "the second put is the record");
    for audience in
        [user_audience("acme", "alice"), role_audience("acme", Role::User), room_audience("acme/room:lobby")]
    {
        assert_eq!(member_ids(&*store, &audience).await, [""; 0], "nothing of the first put is left in {audience:?}");
    }
}

/// Of many removals at once exactly one owns the connection's end.
pub async fn one_removal_wins(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let removed = join_all((0..16).map(|_| store.delete_connection(&alice.id))).await;
    let winners: Vec<ClientConnection> = removed.into_iter().filter_map(|removed| removed.expect("remove")).collect();
    assert_eq!(winners, std::slice::from_ref(&alice), "exactly one removal returns the record");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), None, "it is gone");
    assert_eq!(member_ids(&*store, &user_audience("acme", "alice")).await, [""; 0], "also from the listings");
}

/// Joining and leaving take effect together, repeat without effect, and say what was and what is.
pub async fn channels_change_in_one_step(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let [lobby, attic, prices] = ["acme/room:lobby", "acme/room:attic", "acme/topic:prices"].map(channel_from_key);
    let both = BTreeSet::from([lobby.clone(), prices.clone()]);
    for expected in [BTreeSet::new(), both.clone()] {
        let joined = store.change_channels(&alice.id, &[lobby.clone(), prices.clone()], &[]).await.expect("join");
        assert_eq!(applied_channels(joined), (expected, both.clone()), "both are joined");
    }
    let moved = store
        .change_channels(&alice.id, std::slice::from_ref(&attic), &[lobby, channel_from_key("acme/room:cellar")])
        .await;
    let moved = applied_channels(moved.expect("move"));
    assert_eq!(moved, (both, BTreeSet::from([attic, prices])), "one is left as another is joined");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:lobby")).await, [""; 0], "the left room has no members");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:attic")).await, ["a1"], "the joined room has one");
}

/// A connection joins as many channels as it may be in, and then none of several at once; it may join those again, leave, and
/// swap.
pub async fn a_connection_at_the_channel_limit_joins_no_more(
    ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture,
) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let room = |number: usize| channel_from_key(&format!("acme/room:r{number}"));
    let rooms: Vec<Channel> = (0..limits::MAX_CHANNELS_PER_CONNECTION).map(room).collect();
    for frame in rooms.chunks(limits::MAX_CHANNELS_PER_FRAME) {
        applied_channels(store.change_channels(&alice.id, frame, &[]).await.expect("join"));
    }
    let news = [room(rooms.len()), room(rooms.len() + 1)];
    for join in [&news[..], &[rooms[0].clone(), news[0].clone()]] {
        let refused = store.change_channels(&alice.id, join, &[]).await.expect("join");
        assert_eq!(refused, ChannelChange::LimitReached, "one more is too many, and none is joined");
    }
    let all: BTreeSet<Channel> = rooms.iter().cloned().collect();
    let again = store.change_channels(&alice.id, &rooms[..2], &[]).await.expect("join");
    assert_eq!(applied_channels(again), (all.clone(), all.clone()), "what is joined may be joined");
    let swapped = applied_channels(store.change_channels(&alice.id, &news[..1], &rooms[..1]).await.expect("swap"));
    assert_eq!((swapped.0, swapped.1.len()), (all, rooms.len()), "one may take the place of another");
    assert_eq!(
        member_ids(&*store, &Audience::Channel(news[1].clone())).await,
        [""; 0],
        "what was refused is not listed"
    );
}

/// Changes of one record at the same time all take effect.
pub async fn changes_at_once_lose_nothing(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let rooms: Vec<Channel> = (0..20).map(|number| channel_from_key(&format!("acme/room:r{number}"))).collect();
    let joins = rooms.iter().map(|room| store.change_channels(&alice.id, std::slice::from_ref(room), &[]));
    for joined in join_all(joins).await {
        assert!(matches!(joined.expect("join"), ChannelChange::Applied { .. }), "the record is there");
    }
    let found = store.find_connection(&alice.id).await.expect("find").expect("the record is there");
    assert_eq!(found.channels, rooms.into_iter().collect(), "no join is lost to another");
}

/// A change that comes after the end finds nothing and makes nothing.
pub async fn a_change_does_not_recreate_a_deleted_record(
    ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture,
) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    store.delete_connection(&alice.id).await.expect("remove");
    let changed = store.change_channels(&alice.id, &[channel_from_key("acme/room:lobby")], &[]).await.expect("change");
    assert_eq!(changed, ChannelChange::NotFound, "an absent record is not changed");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), None, "nor made");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:lobby")).await, [""; 0], "nor listed");
}

/// Every kind of audience, with a second tenant that must never show.
pub async fn audiences_have_their_members(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let mut all = vec![
        client_connection("a1", "acme", "alice", Role::User, now),
        client_connection("a2", "acme", "alice", Role::User, now),
        client_connection("b1", "acme", "bob", Role::User, now),
        client_connection("c1", "acme", "carol", Role::Admin, now),
        client_connection("d1", "acme", "alice", Role::Admin, now),
        client_connection("x1", "other", "alice", Role::User, now),
        client_connection("x2", "other", "root", Role::Admin, now),
    ];
    all[0].channels.insert(channel_from_key("acme/room:lobby"));
    all[5].channels.insert(channel_from_key("other/room:lobby"));
    for record in &all {
        store.put_connection(record).await.expect("put");
    }
    let conversation = Audience::Channel(channel_from_key("acme/conversation:alice"));
    let expected: [(Audience, &[&str]); 8] = [
        (Audience::Connection(connection_id("b1")), &["b1"]),
        (Audience::Connection(connection_id("z9")), &[]),
        (user_audience("acme", "alice"), &["a1", "a2", "d1"]),
        (role_audience("acme", Role::Admin), &["c1", "d1"]),
        (room_audience("acme/room:lobby"), &["a1"]),
        (conversation, &["a1", "a2", "c1", "d1"]),
        (Audience::Channel(everyone_channel("acme")), &["a1", "a2", "b1", "c1", "d1"]),
        (Audience::Channel(everyone_channel("nobody")), &[]),
    ];
    for (audience, members) in expected {
        assert_eq!(member_ids(&*store, &audience).await, members, "the members of {audience:?}");
    }
}

/// Pages of every size give each connection once, in order, with the total on each page.
pub async fn pages_are_ordered_and_totals_exact(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    for number in 0..25 {
        let role = if number % 5 == 0 { Role::Admin } else { Role::User };
        let user = if number % 3 == 0 { "alice" } else { "bob" };
        store.put_connection(&client_connection(&format!("c{number:02}"), "acme", user, role, now)).await.expect("put");
    }
    let in_conversation = |number: &i32| number % 5 == 0 || number % 3 == 0;
    let conversation: Vec<String> = (0..25).filter(in_conversation).map(|number| format!("c{number:02}")).collect();
    let everybody: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
    let audiences = [
        (Audience::Channel(channel_from_key("acme/conversation:alice")), conversation),
        (Audience::Channel(everyone_channel("acme")), everybody),
    ];
    for (audience, expected) in audiences {
        for limit in [1, 7, 25, 100] {
            let (found, totals) = page_through(&*store, &audience, limit).await;
            assert_eq!(found, expected, "pages of {limit} of {audience:?}");
            assert!(totals.iter().all(|total| *total == expected.len() as u64), "totals {totals:?} of {audience:?}");
        }
    }
}

/// Rooms and topics with members are listed with their counts, by name, a tenant at a time.
pub async fn occupied_channels_are_listed(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let rooms = ["acme/room:attic", "acme/room:lobby", "acme/topic:prices"].map(channel_from_key);
    for (number, of_tenant) in [(1, "acme"), (2, "acme"), (3, "other")] {
        let record = client_connection(&format!("c{number}"), of_tenant, "alice", Role::User, now);
        store.put_connection(&record).await.expect("put");
    }
    store.change_channels(&connection_id("c1"), &rooms, &[]).await.expect("join");
    store.change_channels(&connection_id("c2"), &rooms[1..2], &[]).await.expect("join");
    store.change_channels(&connection_id("c3"), &[channel_from_key("other/room:elsewhere")], &[]).await.expect("join");
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.occupied_channels(&tenant_id("acme"), after.as_deref(), 2).await.expect("list");
        assert_eq!(page.total, 3, "three channels have members");
        found.extend(page.items.into_iter().map(|item| (item.name, item.connections)));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let expected = [("room:attic", 1), ("room:lobby", 2), ("topic:prices", 1)];
    let expected = expected.map(|(name, count)| (ChannelName::parse(name).expect("a name"), count));
    assert_eq!(found, expected, "each channel once, by name, with its count");
    store.delete_connection(&connection_id("c1")).await.expect("remove");
    let left = store.occupied_channels(&tenant_id("acme"), None, 10).await.expect("list");
    assert_eq!(left.items.len(), 1, "a channel without members is not listed: {left:?}");
}

/// A continuation that no listing returned is told apart from an empty page.
pub async fn an_unknown_page_token_is_rejected(ConnectionStoreFixture { store, .. }: ConnectionStoreFixture) {
    let members = store.list_members(&Audience::Channel(everyone_channel("acme")), Some("no such\ntoken"), 10).await;
    assert!(matches!(members, Err(StoreError::InvalidPageToken)), "members answered {members:?}");
    let channels = store.occupied_channels(&tenant_id("acme"), Some("no such\ntoken"), 10).await;
    assert!(matches!(channels, Err(StoreError::InvalidPageToken)), "occupied_channels answered {channels:?}");
}

/// An expired record is absent for every method. Skipped for stores whose clock cannot be moved.
pub async fn expired_records_are_absent(ConnectionStoreFixture { store, now, clock }: ConnectionStoreFixture) {
    let Some(clock) = clock else { return };
    let mut old = client_connection("a1", "acme", "alice", Role::User, now);
    old.channels.insert(channel_from_key("acme/room:lobby"));
    store.put_connection(&old).await.expect("put");
    clock.advance(limits::CONNECTION_RECORD_TTL - Duration::from_millis(1));
    let young = client_connection("a2", "acme", "alice", Role::User, now.plus(Duration::from_secs(60)));
    store.put_connection(&young).await.expect("put");
    assert_eq!(
        member_ids(&*store, &user_audience("acme", "alice")).await,
        ["a1", "a2"],
        "a record stays for its whole time"
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(member_ids(&*store, &user_audience("acme", "alice")).await, ["a2"], "then it is not listed");
    assert_eq!(store.find_connection(&old.id).await.expect("find"), None, "nor found");
    let occupied = store.occupied_channels(&tenant_id("acme"), None, 10).await.expect("list");
    assert_eq!(occupied.total, 0, "nor are its rooms occupied");
    let changed = store.change_channels(&old.id, &[channel_from_key("acme/room:attic")], &[]).await.expect("change");
    assert_eq!(changed, ChannelChange::NotFound, "nor changed");
    assert_eq!(store.delete_connection(&old.id).await.expect("remove"), None, "nor removed: its end is nobody's");
}

fn user_audience(of_tenant: &str, name: &str) -> Audience {
    Audience::User(tenant_id(of_tenant), UserId::parse(name).expect("a user"))
}

fn role_audience(of_tenant: &str, role: Role) -> Audience {
    Audience::Role(tenant_id(of_tenant), role)
}

fn room_audience(key: &str) -> Audience {
    Audience::Channel(channel_from_key(key))
}

/// The channels before a change that took effect, and after it.
fn applied_channels(changed: ChannelChange) -> (BTreeSet<Channel>, BTreeSet<Channel>) {
    match changed {
        ChannelChange::Applied { connection, before } => (before, connection.channels),
        other => panic!("the change takes effect: {other:?}"),
    }
}

async fn member_ids(store: &dyn ConnectionStore, audience: &Audience) -> Vec<String> {
    page_through(store, audience, 100).await.0
}

async fn page_through(store: &dyn ConnectionStore, audience: &Audience, limit: usize) -> (Vec<String>, Vec<u64>) {
    let (mut found, mut totals) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let Page { items, next, total } = store.list_members(audience, after.as_deref(), limit).await.expect("members");
        assert!(items.len() <= limit, "a page of {limit} has {} items", items.len());
        found.extend(items.iter().map(|item| super::short_id(&item.id).to_owned()));
        totals.push(total);
        match next {
            Some(next) => after = Some(next),
            None => return (found, totals),
        }
    }
}
