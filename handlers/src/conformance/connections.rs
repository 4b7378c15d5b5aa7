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

/// A new, empty store.
pub struct ConnectionStoreFixture {
    /// The store.
    pub store: Arc<dyn ConnectionStore>,
    /// Current time by the store's clock.
    pub now: Timestamp,
    /// The store's clock, if tests can advance it; otherwise expiry is not tested.
    pub clock: Option<Arc<ManualClock>>,
}

/// Runs every case, each on a new store.
pub async fn run_suite(fresh: impl AsyncFn() -> ConnectionStoreFixture) {
    records_read_back(fresh().await).await;
    a_put_replaces_the_record_whole(fresh().await).await;
    one_delete_returns_the_record(fresh().await).await;
    channels_change_in_one_step(fresh().await).await;
    a_connection_at_the_channel_limit_joins_no_more(fresh().await).await;
    concurrent_changes_are_all_applied(fresh().await).await;
    a_change_does_not_recreate_a_deleted_record(fresh().await).await;
    audiences_have_their_members(fresh().await).await;
    pages_are_ordered_and_totals_exact(fresh().await).await;
    occupied_channels_are_listed(fresh().await).await;
    an_unknown_page_token_is_rejected(fresh().await).await;
    expired_records_are_absent(fresh().await).await;
}

/// A record is read back unchanged; a missing one is not found.
pub async fn records_read_back(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let mut alice = client_connection("a1", "acme", "alice", Role::User, now);
    alice.identity.expires_at = Some(now.unix_seconds() + 60);
    alice.channels.insert(channel_from_key("acme/room:lobby"));
    store.put_connection(&alice).await.expect("put");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), Some(alice), "a record reads back as it was put");
    assert_eq!(
        store.find_connection(&connection_id("b1")).await.expect("find"),
        None,
        "a record that was never put is absent"
    );
}

/// A second put of the same id leaves nothing of the first in any index.
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

/// Exactly one of many concurrent deletes returns the record.
pub async fn one_delete_returns_the_record(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let deleted = join_all((0..16).map(|_| store.delete_connection(&alice.id))).await;
    let winners: Vec<ClientConnection> = deleted.into_iter().filter_map(|deleted| deleted.expect("delete")).collect();
    assert_eq!(winners, std::slice::from_ref(&alice), "exactly one delete returns the record");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), None, "the record is deleted");
    assert_eq!(member_ids(&*store, &user_audience("acme", "alice")).await, [""; 0], "the listings do not contain it");
}

/// Joins and leaves are applied together, are idempotent, and return the channels before and after.
pub async fn channels_change_in_one_step(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let [lobby, attic, prices] = ["acme/room:lobby", "acme/room:attic", "acme/topic:prices"].map(channel_from_key);
    let both = BTreeSet::from([lobby.clone(), prices.clone()]);
    for expected in [BTreeSet::new(), both.clone()] {
        let joined = store.change_channels(&alice.id, &[lobby.clone(), prices.clone()], &[]).await.expect("join");
        assert_eq!(applied_channels(joined), (expected, both.clone()), "both are joined");
    }
    let changed = store
        .change_channels(&alice.id, std::slice::from_ref(&attic), &[lobby, channel_from_key("acme/room:cellar")])
        .await;
    let changed = applied_channels(changed.expect("change"));
    assert_eq!(changed, (both, BTreeSet::from([attic, prices])), "one channel is left while another is joined");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:lobby")).await, [""; 0], "the left room has no members");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:attic")).await, ["a1"], "the joined room has one");
}

/// A connection can join channels up to the limit. A change beyond the limit joins none of its channels. At the limit,
/// the connection may join the same channels again, leave, and swap.
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
    let new_rooms = [room(rooms.len()), room(rooms.len() + 1)];
    for join in [&new_rooms[..], &[rooms[0].clone(), new_rooms[0].clone()]] {
        let rejected = store.change_channels(&alice.id, join, &[]).await.expect("join");
        assert_eq!(rejected, ChannelChange::LimitReached, "a change beyond the limit joins no channel");
    }
    let all: BTreeSet<Channel> = rooms.iter().cloned().collect();
    let again = store.change_channels(&alice.id, &rooms[..2], &[]).await.expect("join");
    assert_eq!(applied_channels(again), (all.clone(), all.clone()), "a joined channel may be joined again");
    let swapped = applied_channels(store.change_channels(&alice.id, &new_rooms[..1], &rooms[..1]).await.expect("swap"));
    assert_eq!((swapped.0, swapped.1.len()), (all, rooms.len()), "a channel may be swapped for another at the limit");
    assert_eq!(
        member_ids(&*store, &Audience::Channel(new_rooms[1].clone())).await,
        [""; 0],
        "a rejected channel is not listed"
    );
}

/// Concurrent changes of one record are all applied.
pub async fn concurrent_changes_are_all_applied(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    let rooms: Vec<Channel> = (0..20).map(|number| channel_from_key(&format!("acme/room:r{number}"))).collect();
    let joins = rooms.iter().map(|room| store.change_channels(&alice.id, std::slice::from_ref(room), &[]));
    for joined in join_all(joins).await {
        assert!(matches!(joined.expect("join"), ChannelChange::Applied { .. }), "the record exists");
    }
    let found = store.find_connection(&alice.id).await.expect("find").expect("the record exists");
    assert_eq!(found.channels, rooms.into_iter().collect(), "every join is applied");
}

/// A change after the delete finds no record and creates none.
pub async fn a_change_does_not_recreate_a_deleted_record(
    ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture,
) {
    let alice = client_connection("a1", "acme", "alice", Role::User, now);
    store.put_connection(&alice).await.expect("put");
    store.delete_connection(&alice.id).await.expect("delete");
    let changed = store.change_channels(&alice.id, &[channel_from_key("acme/room:lobby")], &[]).await.expect("change");
    assert_eq!(changed, ChannelChange::NotFound, "an absent record is not changed");
    assert_eq!(store.find_connection(&alice.id).await.expect("find"), None, "no record is created");
    assert_eq!(member_ids(&*store, &room_audience("acme/room:lobby")).await, [""; 0], "the room has no members");
}

/// Every kind of audience lists its members and none of a second tenant.
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
        (Audience::Channel(everyone_channel("unused")), &[]),
    ];
    for (audience, members) in expected {
        assert_eq!(member_ids(&*store, &audience).await, members, "the members of {audience:?}");
    }
}

/// Pages of every size list each connection once, in order, with the total on each page.
pub async fn pages_are_ordered_and_totals_exact(ConnectionStoreFixture { store, now, .. }: ConnectionStoreFixture) {
    for number in 0..25 {
        let role = if number % 5 == 0 { Role::Admin } else { Role::User };
        let user = if number % 3 == 0 { "alice" } else { "bob" };
        store.put_connection(&client_connection(&format!("c{number:02}"), "acme", user, role, now)).await.expect("put");
    }
    let in_conversation = |number: &i32| number % 5 == 0 || number % 3 == 0;
    let conversation: Vec<String> = (0..25).filter(in_conversation).map(|number| format!("c{number:02}")).collect();
    let everyone: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
    let audiences = [
        (Audience::Channel(channel_from_key("acme/conversation:alice")), conversation),
        (Audience::Channel(everyone_channel("acme")), everyone),
    ];
    for (audience, expected) in audiences {
        for limit in [1, 7, 25, 100] {
            let (found, totals) = page_through(&*store, &audience, limit).await;
            assert_eq!(found, expected, "pages of {limit} of {audience:?}");
            assert!(totals.iter().all(|total| *total == expected.len() as u64), "totals {totals:?} of {audience:?}");
        }
    }
}

/// Rooms and topics with members are listed with their counts, ordered by name, for one tenant.
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
    store.delete_connection(&connection_id("c1")).await.expect("delete");
    let left = store.occupied_channels(&tenant_id("acme"), None, 10).await.expect("list");
    assert_eq!(left.items.len(), 1, "a channel without members is not listed: {left:?}");
}

/// An invalid page token is an error, not an empty page.
pub async fn an_unknown_page_token_is_rejected(ConnectionStoreFixture { store, .. }: ConnectionStoreFixture) {
    let members = store.list_members(&Audience::Channel(everyone_channel("acme")), Some("no such\ntoken"), 10).await;
    assert!(matches!(members, Err(StoreError::InvalidPageToken)), "members answered {members:?}");
    let channels = store.occupied_channels(&tenant_id("acme"), Some("no such\ntoken"), 10).await;
    assert!(matches!(channels, Err(StoreError::InvalidPageToken)), "occupied_channels answered {channels:?}");
}

/// An expired record is absent for every method. Skipped for stores whose clock cannot be advanced.
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
        "a record is listed for its whole lifetime"
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(member_ids(&*store, &user_audience("acme", "alice")).await, ["a2"], "an expired record is not listed");
    assert_eq!(store.find_connection(&old.id).await.expect("find"), None, "an expired record is not found");
    let occupied = store.occupied_channels(&tenant_id("acme"), None, 10).await.expect("list");
    assert_eq!(occupied.total, 0, "its rooms are not occupied");
    let changed = store.change_channels(&old.id, &[channel_from_key("acme/room:attic")], &[]).await.expect("change");
    assert_eq!(changed, ChannelChange::NotFound, "an expired record is not changed");
    assert_eq!(
        store.delete_connection(&old.id).await.expect("delete"),
        None,
        "an expired record is not returned by a delete"
    );
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

/// Returns the channels before and after an applied change.
fn applied_channels(changed: ChannelChange) -> (BTreeSet<Channel>, BTreeSet<Channel>) {
    match changed {
        ChannelChange::Applied { connection, before } => (before, connection.channels),
        other => panic!("the change was not applied: {other:?}"),
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
