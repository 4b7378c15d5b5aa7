//! The contract of [`Delivery`].
//!
//! [`all`] holds for every adapter; [`exactly_once`] for those that own the sockets and keep order.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{append, channel, connection, connection_id, everyone, tenant};
use crate::audience::Audience;
use crate::channel::{Channel, Offset, Position};
use crate::id::{ConnectionId, UserId};
use crate::identity::Role;
use crate::ports::{
    CloseReason, Connection, ConnectionStore, Delivered, Delivery, MessageLog, Outgoing, Placement, Priority, Released,
    Timestamp,
};

/// The other end: sockets, or what stands for them.
#[async_trait]
pub trait Receivers: Send + Sync {
    /// Opens the connection. Its record is in the fixture's store already.
    async fn open(&self, connection: &Connection);
    /// What reached the connection since the last call, once nothing more is on its way.
    async fn received(&self, id: &ConnectionId) -> Vec<Bytes>;
    /// Why the application closed the connection.
    async fn closed(&self, id: &ConnectionId) -> Option<CloseReason>;
}

/// A fresh adapter with nobody connected.
pub struct Fixture {
    /// The adapter.
    pub delivery: Arc<dyn Delivery>,
    /// The store that it may resolve audiences from.
    pub connections: Arc<dyn ConnectionStore>,
    /// The log that it may fill holes from.
    pub log: Arc<dyn MessageLog>,
    /// The other end.
    pub receivers: Arc<dyn Receivers>,
    /// The present moment by the store's clock.
    pub now: Timestamp,
}

/// Runs the cases that hold for every adapter.
pub async fn all(fresh: impl AsyncFn() -> Fixture) {
    audiences_reach_exactly_their_members(fresh().await).await;
    a_connection_that_is_not_open_is_gone(fresh().await).await;
    what_is_detached_receives_no_more(fresh().await).await;
    a_close_carries_its_reason(fresh().await).await;
}

/// Runs the cases that hold for adapters that own the sockets.
pub async fn exactly_once(fresh: impl AsyncFn() -> Fixture) {
    a_placed_message_arrives_once_and_in_order(fresh().await).await;
    a_hold_withholds_until_it_is_released(fresh().await).await;
    a_release_is_a_mark_that_nothing_below_passes(fresh().await).await;
    a_hold_lets_answers_through(fresh().await).await;
}

/// Each kind of audience gets a frame, and nobody beside it does.
pub async fn audiences_reach_exactly_their_members(fixture: Fixture) {
    let people = [("a1", "alice", Role::User), ("a2", "alice", Role::User), ("b1", "bob", Role::User)];
    for (id, user, role) in people.into_iter().chain([("c1", "carol", Role::Admin)]) {
        fixture.open(id, "acme", user, role).await;
    }
    fixture.open("x1", "other", "alice", Role::Admin).await;
    fixture.join("b1", &channel("acme/room:lobby")).await;
    let alice = Audience::User(tenant("acme"), UserId::parse("alice").expect("a user"));
    let expected: [(Audience, &[&str]); 6] = [
        (Audience::Connection(connection_id("a2")), &["a2"]),
        (alice, &["a1", "a2"]),
        (Audience::Role(tenant("acme"), Role::Admin), &["c1"]),
        (Audience::Channel(channel("acme/conversation:alice")), &["a1", "a2", "c1"]),
        (Audience::Channel(channel("acme/room:lobby")), &["b1"]),
        (Audience::Channel(everyone("acme")), &["a1", "a2", "b1", "c1"]),
    ];
    for (number, (audience, members)) in expected.into_iter().enumerate() {
        let frame = Bytes::from(format!("{{\"n\":{number}}}"));
        let outgoing = Outgoing { frame: frame.clone(), priority: Priority::Direct, placement: None };
        let delivered = fixture.delivery.deliver(&audience, outgoing).await.expect("deliver");
        assert_ne!(delivered, Delivered::Gone, "{audience:?} is there");
        for id in ["a1", "a2", "b1", "c1", "x1"] {
            let expected = if members.contains(&id) { vec![frame.clone()] } else { vec![] };
            assert_eq!(fixture.received(id).await, expected, "what {id} gets of a frame to {audience:?}");
        }
    }
}

/// `Gone` is an answer of every method that names a connection, and an empty room is none.
pub async fn a_connection_that_is_not_open_is_gone(fixture: Fixture) {
    let nobody = connection_id("z9");
    let to = async |audience| fixture.delivery.deliver(&audience, plain("{}")).await.expect("deliver");
    assert_eq!(to(Audience::Connection(nobody.clone())).await, Delivered::Gone, "deliver");
    let closed = fixture.delivery.close(&nobody, CloseReason::Kicked).await.expect("close");
    assert_eq!(closed, Delivered::Gone, "close");
    let empty = to(Audience::Channel(channel("acme/room:lobby"))).await;
    assert_ne!(empty, Delivered::Gone, "a channel is never gone");
}

/// Detached from a room, a connection gets nothing more of it.
pub async fn what_is_detached_receives_no_more(fixture: Fixture) {
    let lobby = channel("acme/room:lobby");
    fixture.open("a1", "acme", "alice", Role::User).await;
    fixture.join("a1", &lobby).await;
    fixture.say(&lobby, 1).await;
    assert_eq!(fixture.received("a1").await, [frame(1)], "a joined room is received");
    fixture.leave("a1", &lobby).await;
    fixture.say(&lobby, 2).await;
    assert_eq!(fixture.received("a1").await, [""; 0], "a left one is not");
}

/// The reason decides the close code, so it has to arrive.
pub async fn a_close_carries_its_reason(fixture: Fixture) {
    for (id, reason) in [("a1", CloseReason::Kicked), ("a2", CloseReason::TokenExpired)] {
        fixture.open(id, "acme", "alice", Role::User).await;
        assert_eq!(fixture.receivers.closed(&connection_id(id)).await, None, "{id} is open");
        fixture.delivery.close(&connection_id(id), reason).await.expect("close");
        assert_eq!(fixture.receivers.closed(&connection_id(id)).await, Some(reason), "{id} is closed");
    }
}

/// A message that is delivered again does not arrive again.
pub async fn a_placed_message_arrives_once_and_in_order(fixture: Fixture) {
    let conversation = channel("acme/conversation:alice");
    fixture.open("a1", "acme", "alice", Role::User).await;
    for offset in [1, 2, 2, 3, 1] {
        fixture.say(&conversation, offset).await;
    }
    assert_eq!(fixture.received("a1").await, [frame(1), frame(2), frame(3)], "each once, in order");
}

/// A held channel is silent, says how far it has moved on, and flows from there.
pub async fn a_hold_withholds_until_it_is_released(fixture: Fixture) {
    let (id, conversation) = (connection_id("a1"), channel("acme/conversation:alice"));
    fixture.open("a1", "acme", "alice", Role::User).await;
    let held = fixture.delivery.hold(&id, std::slice::from_ref(&conversation)).await.expect("hold");
    assert_ne!(held, Delivered::Gone, "the connection is open");
    fixture.say(&conversation, 1).await;
    fixture.say(&conversation, 2).await;
    assert_eq!(fixture.received("a1").await, [""; 0], "a held channel is silent");
    assert_eq!(fixture.release(&conversation, 1).await, Released::Behind(Offset(2)), "it has moved on");
    fixture.say(&conversation, 3).await;
    assert_eq!(fixture.release(&conversation, 2).await, Released::Behind(Offset(3)), "and again");
    assert_eq!(fixture.release(&conversation, 3).await, Released::Live, "now it is caught up");
    fixture.say(&conversation, 4).await;
    assert_eq!(fixture.received("a1").await, [frame(4)], "what follows the mark flows");
}

/// Placed messages up to a released mark never arrive, also without a hold.
pub async fn a_release_is_a_mark_that_nothing_below_passes(fixture: Fixture) {
    let conversation = channel("acme/conversation:alice");
    fixture.open("a1", "acme", "alice", Role::User).await;
    for offset in 1..=3 {
        fixture.log.append(append(&conversation, "alice", &format!("m{offset}"), "1")).await.expect("append");
    }
    assert_eq!(fixture.release(&conversation, 3).await, Released::Live, "there is no hold");
    for offset in 1..=4 {
        fixture.say(&conversation, offset).await;
    }
    assert_eq!(fixture.received("a1").await, [frame(4)], "only what follows the mark");
}

/// Frames without a place (answers, resumed messages, typing) pass a hold.
pub async fn a_hold_lets_answers_through(fixture: Fixture) {
    let (id, conversation) = (connection_id("a1"), channel("acme/conversation:alice"));
    fixture.open("a1", "acme", "alice", Role::User).await;
    fixture.delivery.hold(&id, std::slice::from_ref(&conversation)).await.expect("hold");
    fixture.delivery.deliver(&Audience::Connection(id), plain("\"answer\"")).await.expect("deliver");
    fixture.delivery.deliver(&Audience::Channel(conversation), plain("\"typing\"")).await.expect("deliver");
    assert_eq!(fixture.received("a1").await, ["\"answer\"", "\"typing\""], "neither is withheld");
}

impl Fixture {
    async fn open(&self, id: &str, of_tenant: &str, user: &str, role: Role) {
        let record = connection(id, of_tenant, user, role, self.now);
        self.connections.put(&record).await.expect("put");
        self.receivers.open(&record).await;
    }

    async fn join(&self, id: &str, to: &Channel) {
        let (id, to) = (connection_id(id), std::slice::from_ref(to));
        self.connections.change_channels(&id, to, &[]).await.expect("join");
        self.delivery.hold(&id, to).await.expect("hold");
        let head = self.log.heads(to).await.expect("heads").remove(0);
        let released = self.delivery.release(&id, &to[0], &head).await.expect("release");
        assert_eq!(released, Released::Live, "nothing was said meanwhile");
    }

    async fn leave(&self, id: &str, from: &Channel) {
        let (id, from) = (connection_id(id), std::slice::from_ref(from));
        self.connections.change_channels(&id, &[], from).await.expect("leave");
        self.delivery.detach(&id, from).await.expect("detach");
    }

    /// Appends and delivers message `offset` of a channel; again, when it is there already.
    async fn say(&self, to: &Channel, offset: u64) {
        let appended = self.log.append(append(to, "alice", &format!("m{offset}"), "1")).await.expect("append");
        assert_eq!(appended.position.offset, Offset(offset), "the cases say messages in order");
        let placement = Some(Placement { channel: to.clone(), position: appended.position });
        let outgoing = Outgoing { frame: frame(offset), priority: Priority::Direct, placement };
        self.delivery.deliver(&Audience::Channel(to.clone()), outgoing).await.expect("deliver");
    }

    async fn release(&self, of: &Channel, through: u64) -> Released {
        let head = self.log.heads(std::slice::from_ref(of)).await.expect("heads").remove(0);
        let through = Position { epoch: head.epoch, offset: Offset(through) };
        self.delivery.release(&connection_id("a1"), of, &through).await.expect("release")
    }

    async fn received(&self, id: &str) -> Vec<Bytes> {
        self.receivers.received(&connection_id(id)).await
    }
}

fn frame(offset: u64) -> Bytes {
    Bytes::from(format!("{{\"offset\":{offset}}}"))
}

fn plain(text: &'static str) -> Outgoing {
    Outgoing { frame: Bytes::from_static(text.as_bytes()), priority: Priority::Ephemeral, placement: None }
}
