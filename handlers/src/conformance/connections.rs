//! The contract of [`ConnectionStore`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{channel, connection, connection_id, everyone, tenant};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::id::UserId;
use crate::identity::Role;
use crate::limits;
use crate::memory::ManualClock;
use crate::ports::{Changed, Connection, ConnectionStore, Page, StoreError, Timestamp};

/// A fresh, empty store.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn ConnectionStore>,
    /// The present moment by the store's clock.
    pub now: Timestamp,
    /// The store's clock, where it can be moved; without one, expiry is not tested.
    pub clock: Option<Arc<ManualClock>>,
}

/// Runs every case, each on a store of its own.
pub async fn all(fresh: impl AsyncFn() -> Fixture) {
    records_read_back(fresh().await).await;
    a_put_replaces_the_record_whole(fresh().await).await;
    one_removal_wins(fresh().await).await;
    channels_change_in_one_step(fresh().await).await;
    a_full_connection_takes_no_more(fresh().await).await;
    changes_at_once_lose_nothing(fresh().await).await;
    a_change_does_not_bring_a_record_back(fresh().await).await;
    audiences_have_their_members(fresh().await).await;
    pages_are_ordered_and_totals_exact(fresh().await).await;
    occupied_channels_are_listed(fresh().await).await;
    a_foreign_page_token_is_refused(fresh().await).await;
    expired_records_are_absent(fresh().await).await;
}

/// What was put is found, as it was put; what was not, is not.
pub async fn records_read_back(Fixture { store, now, .. }: Fixture) {
    let mut alice = connection("a1", "acme", "alice", Role::User, now);
    alice.identity.expires_at = Some(now.seconds() + 60);
    alice.channels.insert(channel("acme/room:lobby"));
    store.put(&alice).await.expect("put");
    assert_eq!(store.find(&alice.id).await.expect("find"), Some(alice), "a record reads back as it was put");
    assert_eq!(store.find(&connection_id("b1")).await.expect("find"), None, "what was never put is absent");
}

/// A second put of the same id leaves nothing of the first, in no index.
pub async fn a_put_replaces_the_record_whole(Fixture { store, now, .. }: Fixture) {
    let mut first = connection("a1", "acme", "alice", Role::User, now);
    first.channels.insert(channel("acme/room:lobby"));
    let second = connection("a1", "acme", "bob", Role::Admin, now);
    store.put(&first).await.expect("put");
    store.put(&second).await.expect("put again");
    assert_eq!(store.find(&second.id).await.expect("find"), Some(second), "the second put is the record");
    for audience in [user("acme", "alice"), role("acme", Role::User), room("acme/room:lobby")] {
        assert_eq!(ids(&*store, &audience).await, [""; 0], "nothing of the first put is left in {audience:?}");
    }
}

/// Of many removals at once exactly one owns the connection's end.
pub async fn one_removal_wins(Fixture { store, now, .. }: Fixture) {
    let alice = connection("a1", "acme", "alice", Role::User, now);
    store.put(&alice).await.expect("put");
    let removed = join_all((0..16).map(|_| store.remove(&alice.id))).await;
    let winners: Vec<Connection> = removed.into_iter().filter_map(|removed| removed.expect("remove")).collect();
    assert_eq!(winners, std::slice::from_ref(&alice), "exactly one removal returns the record");
    assert_eq!(store.find(&alice.id).await.expect("find"), None, "it is gone");
    assert_eq!(ids(&*store, &user("acme", "alice")).await, [""; 0], "also from the listings");
}

/// Joining and leaving take effect together, repeat without effect, and say what was and what is.
pub async fn channels_change_in_one_step(Fixture { store, now, .. }: Fixture) {
    let alice = connection("a1", "acme", "alice", Role::User, now);
    store.put(&alice).await.expect("put");
    let [lobby, attic, prices] = ["acme/room:lobby", "acme/room:attic", "acme/topic:prices"].map(channel);
    let both = BTreeSet::from([lobby.clone(), prices.clone()]);
    for expected in [BTreeSet::new(), both.clone()] {
        let joined = store.change_channels(&alice.id, &[lobby.clone(), prices.clone()], &[]).await.expect("join");
        assert_eq!(change(joined), (expected, both.clone()), "both are joined");
    }
    let moved =
        store.change_channels(&alice.id, std::slice::from_ref(&attic), &[lobby, channel("acme/room:cellar")]).await;
    let moved = change(moved.expect("move"));
    assert_eq!(moved, (both, BTreeSet::from([attic, prices])), "one is left as another is joined");
    assert_eq!(ids(&*store, &room("acme/room:lobby")).await, [""; 0], "the left room has no members");
    assert_eq!(ids(&*store, &room("acme/room:attic")).await, ["a1"], "the joined room has one");
}

/// A connection joins as many channels as it may be in, and then none of several at once; it may join those again, leave, and
/// swap.
pub async fn a_full_connection_takes_no_more(Fixture { store, now, .. }: Fixture) {
    let alice = connection("a1", "acme", "alice", Role::User, now);
    store.put(&alice).await.expect("put");
    let room = |number: usize| channel(&format!("acme/room:r{number}"));
    let rooms: Vec<Channel> = (0..limits::CHANNELS_PER_CONNECTION).map(room).collect();
    for frame in rooms.chunks(limits::CHANNELS_PER_FRAME) {
        change(store.change_channels(&alice.id, frame, &[]).await.expect("join"));
    }
    let news = [room(rooms.len()), room(rooms.len() + 1)];
    for join in [&news[..], &[rooms[0].clone(), news[0].clone()]] {
        let refused = store.change_channels(&alice.id, join, &[]).await.expect("join");
        assert_eq!(refused, Changed::Full, "one more is too many, and none is joined");
    }
    let all: BTreeSet<Channel> = rooms.iter().cloned().collect();
    let again = store.change_channels(&alice.id, &rooms[..2], &[]).await.expect("join");
    assert_eq!(change(again), (all.clone(), all.clone()), "what is joined may be joined");
    let swapped = change(store.change_channels(&alice.id, &news[..1], &rooms[..1]).await.expect("swap"));
    assert_eq!((swapped.0, swapped.1.len()), (all, rooms.len()), "one may take the place of another");
    assert_eq!(ids(&*store, &Audience::Channel(news[1].clone())).await, [""; 0], "what was refused is not listed");
}

/// Changes of one record at the same time all take effect.
pub async fn changes_at_once_lose_nothing(Fixture { store, now, .. }: Fixture) {
    let alice = connection("a1", "acme", "alice", Role::User, now);
    store.put(&alice).await.expect("put");
    let rooms: Vec<Channel> = (0..20).map(|number| channel(&format!("acme/room:r{number}"))).collect();
    let joins = rooms.iter().map(|room| store.change_channels(&alice.id, std::slice::from_ref(room), &[]));
    for joined in join_all(joins).await {
        assert!(matches!(joined.expect("join"), Changed::To { .. }), "the record is there");
    }
    let found = store.find(&alice.id).await.expect("find").expect("the record is there");
    assert_eq!(found.channels, rooms.into_iter().collect(), "no join is lost to another");
}

/// A change that comes after the end finds nothing and makes nothing.
pub async fn a_change_does_not_bring_a_record_back(Fixture { store, now, .. }: Fixture) {
    let alice = connection("a1", "acme", "alice", Role::User, now);
    store.put(&alice).await.expect("put");
    store.remove(&alice.id).await.expect("remove");
    let changed = store.change_channels(&alice.id, &[channel("acme/room:lobby")], &[]).await.expect("change");
    assert_eq!(changed, Changed::Absent, "an absent record is not changed");
    assert_eq!(store.find(&alice.id).await.expect("find"), None, "nor made");
    assert_eq!(ids(&*store, &room("acme/room:lobby")).await, [""; 0], "nor listed");
}

/// Every kind of audience, with a second tenant that must never show.
pub async fn audiences_have_their_members(Fixture { store, now, .. }: Fixture) {
    let mut all = vec![
        connection("a1", "acme", "alice", Role::User, now),
        connection("a2", "acme", "alice", Role::User, now),
        connection("b1", "acme", "bob", Role::User, now),
        connection("c1", "acme", "carol", Role::Admin, now),
        connection("d1", "acme", "alice", Role::Admin, now),
        connection("x1", "other", "alice", Role::User, now),
        connection("x2", "other", "root", Role::Admin, now),
    ];
    all[0].channels.insert(channel("acme/room:lobby"));
    all[5].channels.insert(channel("other/room:lobby"));
    for record in &all {
        store.put(record).await.expect("put");
    }
    let conversation = Audience::Channel(channel("acme/conversation:alice"));
    let expected: [(Audience, &[&str]); 8] = [
        (Audience::Connection(connection_id("b1")), &["b1"]),
        (Audience::Connection(connection_id("z9")), &[]),
        (user("acme", "alice"), &["a1", "a2", "d1"]),
        (role("acme", Role::Admin), &["c1", "d1"]),
        (room("acme/room:lobby"), &["a1"]),
        (conversation, &["a1", "a2", "c1", "d1"]),
        (Audience::Channel(everyone("acme")), &["a1", "a2", "b1", "c1", "d1"]),
        (Audience::Channel(everyone("nobody")), &[]),
    ];
    for (audience, members) in expected {
        assert_eq!(ids(&*store, &audience).await, members, "the members of {audience:?}");
    }
}

/// Pages of every size give each connection once, in order, with the total on each page.
pub async fn pages_are_ordered_and_totals_exact(Fixture { store, now, .. }: Fixture) {
    for number in 0..25 {
        let role = if number % 5 == 0 { Role::Admin } else { Role::User };
        let user = if number % 3 == 0 { "alice" } else { "bob" };
        store.put(&connection(&format!("c{number:02}"), "acme", user, role, now)).await.expect("put");
    }
    let in_conversation = |number: &i32| number % 5 == 0 || number % 3 == 0;
    let conversation: Vec<String> = (0..25).filter(in_conversation).map(|number| format!("c{number:02}")).collect();
    let everybody: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
    let audiences = [
        (Audience::Channel(channel("acme/conversation:alice")), conversation),
        (Audience::Channel(everyone("acme")), everybody),
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
pub async fn occupied_channels_are_listed(Fixture { store, now, .. }: Fixture) {
    let rooms = ["acme/room:attic", "acme/room:lobby", "acme/topic:prices"].map(channel);
    for (number, of_tenant) in [(1, "acme"), (2, "acme"), (3, "other")] {
        let record = connection(&format!("c{number}"), of_tenant, "alice", Role::User, now);
        store.put(&record).await.expect("put");
    }
    store.change_channels(&connection_id("c1"), &rooms, &[]).await.expect("join");
    store.change_channels(&connection_id("c2"), &rooms[1..2], &[]).await.expect("join");
    store.change_channels(&connection_id("c3"), &[channel("other/room:elsewhere")], &[]).await.expect("join");
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.occupied_channels(&tenant("acme"), after.as_deref(), 2).await.expect("list");
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
    store.remove(&connection_id("c1")).await.expect("remove");
    let left = store.occupied_channels(&tenant("acme"), None, 10).await.expect("list");
    assert_eq!(left.items.len(), 1, "a channel without members is not listed: {left:?}");
}

/// A continuation that no listing returned is told apart from an empty page.
pub async fn a_foreign_page_token_is_refused(Fixture { store, .. }: Fixture) {
    let members = store.members(&Audience::Channel(everyone("acme")), Some("no such\ntoken"), 10).await;
    assert!(matches!(members, Err(StoreError::BadPage)), "members answered {members:?}");
    let channels = store.occupied_channels(&tenant("acme"), Some("no such\ntoken"), 10).await;
    assert!(matches!(channels, Err(StoreError::BadPage)), "occupied_channels answered {channels:?}");
}

/// An expired record is absent for every method. Skipped for stores whose clock cannot be moved.
pub async fn expired_records_are_absent(Fixture { store, now, clock }: Fixture) {
    let Some(clock) = clock else { return };
    let mut old = connection("a1", "acme", "alice", Role::User, now);
    old.channels.insert(channel("acme/room:lobby"));
    store.put(&old).await.expect("put");
    clock.advance(limits::CONNECTION_TTL - Duration::from_millis(1));
    let young = connection("a2", "acme", "alice", Role::User, now.plus(Duration::from_secs(60)));
    store.put(&young).await.expect("put");
    assert_eq!(ids(&*store, &user("acme", "alice")).await, ["a1", "a2"], "a record stays for its whole time");
    clock.advance(Duration::from_millis(1));
    assert_eq!(ids(&*store, &user("acme", "alice")).await, ["a2"], "then it is not listed");
    assert_eq!(store.find(&old.id).await.expect("find"), None, "nor found");
    let occupied = store.occupied_channels(&tenant("acme"), None, 10).await.expect("list");
    assert_eq!(occupied.total, 0, "nor are its rooms occupied");
    let changed = store.change_channels(&old.id, &[channel("acme/room:attic")], &[]).await.expect("change");
    assert_eq!(changed, Changed::Absent, "nor changed");
    assert_eq!(store.remove(&old.id).await.expect("remove"), None, "nor removed: its end is nobody's");
}

fn user(of_tenant: &str, name: &str) -> Audience {
    Audience::User(tenant(of_tenant), UserId::parse(name).expect("a user"))
}

fn role(of_tenant: &str, role: Role) -> Audience {
    Audience::Role(tenant(of_tenant), role)
}

fn room(key: &str) -> Audience {
    Audience::Channel(channel(key))
}

/// The channels before a change that took effect, and after it.
fn change(changed: Changed) -> (BTreeSet<Channel>, BTreeSet<Channel>) {
    match changed {
        Changed::To { connection, before } => (before, connection.channels),
        other => panic!("the change takes effect: {other:?}"),
    }
}

async fn ids(store: &dyn ConnectionStore, audience: &Audience) -> Vec<String> {
    page_through(store, audience, 100).await.0
}

async fn page_through(store: &dyn ConnectionStore, audience: &Audience, limit: usize) -> (Vec<String>, Vec<u64>) {
    let (mut found, mut totals) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let Page { items, next, total } = store.members(audience, after.as_deref(), limit).await.expect("members");
        assert!(items.len() <= limit, "a page of {limit} has {} items", items.len());
        found.extend(items.iter().map(|item| super::short(&item.id).to_owned()));
        totals.push(total);
        match next {
            Some(next) => after = Some(next),
            None => return (found, totals),
        }
    }
}
