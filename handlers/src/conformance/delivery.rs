//! The contract of [`Delivery`].
//!
//! [`run_suite`] applies to every adapter, [`run_exactly_once_suite`] to adapters that own the sockets and keep order.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{append_request, channel_from_key, client_connection, connection_id, everyone_channel, tenant_id};
use crate::audience::Audience;
use crate::channel::{Channel, Offset, Position};
use crate::id::{ConnectionId, UserId};
use crate::identity::Role;
use crate::ports::{
    ClientConnection, CloseReason, ConnectionStore, Delivery, DeliveryOutcome, MessageLog, OutgoingFrame, Placement,
    Priority, ResumeOutcome, Timestamp,
};

/// The receiving side of the connections under test.
#[async_trait]
pub trait TestReceivers: Send + Sync {
    /// Opens the connection. Its record is already in the fixture's store.
    async fn open_connection(&self, connection: &ClientConnection);
    /// Returns the frames that reached the connection since the last call, after all frames in flight have arrived.
    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes>;
    /// Returns the reason for which the connection was closed.
    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason>;
}

/// A new adapter without connections.
pub struct DeliveryFixture {
    /// The adapter.
    pub delivery: Arc<dyn Delivery>,
    /// Store from which the adapter may resolve audiences.
    pub connections: Arc<dyn ConnectionStore>,
    /// Log from which the adapter may backfill missing offsets.
    pub log: Arc<dyn MessageLog>,
    /// Receiving side of the connections.
    pub receivers: Arc<dyn TestReceivers>,
    /// Current time by the store's clock.
    pub now: Timestamp,
}

/// Runs the cases for every adapter.
pub async fn run_suite(fresh: impl AsyncFn() -> DeliveryFixture) {
    audiences_reach_exactly_their_members(fresh().await).await;
    a_closed_connection_is_reported_as_gone(fresh().await).await;
    a_detached_channel_is_no_longer_received(fresh().await).await;
    a_close_carries_its_reason(fresh().await).await;
}

/// Runs the cases for adapters that own the sockets.
pub async fn run_exactly_once_suite(fresh: impl AsyncFn() -> DeliveryFixture) {
    a_placed_message_arrives_once_and_in_order(fresh().await).await;
    a_paused_channel_is_silent_until_it_is_resumed(fresh().await).await;
    nothing_up_to_the_resume_position_is_delivered(fresh().await).await;
    a_paused_channel_passes_frames_without_a_placement(fresh().await).await;
}

/// A frame reaches every member of its audience and no other connection.
pub async fn audiences_reach_exactly_their_members(fixture: DeliveryFixture) {
    let users = [("a1", "alice", Role::User), ("a2", "alice", Role::User), ("b1", "bob", Role::User)];
    for (id, user, role) in users.into_iter().chain([("c1", "carol", Role::Admin)]) {
        fixture.open_connection(id, "acme", user, role).await;
    }
    fixture.open_connection("x1", "other", "alice", Role::Admin).await;
    fixture.join_channel("b1", &channel_from_key("acme/room:lobby")).await;
    let alice = Audience::User(tenant_id("acme"), UserId::parse("alice").expect("a user"));
    let expected: [(Audience, &[&str]); 6] = [
        (Audience::Connection(connection_id("a2")), &["a2"]),
        (alice, &["a1", "a2"]),
        (Audience::Role(tenant_id("acme"), Role::Admin), &["c1"]),
        (Audience::Channel(channel_from_key("acme/conversation:alice")), &["a1", "a2", "c1"]),
        (Audience::Channel(channel_from_key("acme/room:lobby")), &["b1"]),
        (Audience::Channel(everyone_channel("acme")), &["a1", "a2", "b1", "c1"]),
    ];
    for (number, (audience, members)) in expected.into_iter().enumerate() {
        let frame = Bytes::from(format!("{{\"n\":{number}}}"));
        let outgoing = OutgoingFrame { frame: frame.clone(), priority: Priority::Direct, placement: None };
        let delivered = fixture.delivery.deliver(&audience, outgoing).await.expect("deliver");
        assert_ne!(delivered, DeliveryOutcome::ConnectionGone, "{audience:?} is connected");
        for id in ["a1", "a2", "b1", "c1", "x1"] {
            let expected = if members.contains(&id) { vec![frame.clone()] } else { vec![] };
            assert_eq!(fixture.received_frames(id).await, expected, "frames of {id} after a frame to {audience:?}");
        }
    }
}

/// Every method that takes a connection reports a closed one as [`DeliveryOutcome::ConnectionGone`]; an empty room is
/// not reported.
pub async fn a_closed_connection_is_reported_as_gone(fixture: DeliveryFixture) {
    let closed_id = connection_id("z9");
    let to = async |audience| fixture.delivery.deliver(&audience, ephemeral_frame("{}")).await.expect("deliver");
    assert_eq!(to(Audience::Connection(closed_id.clone())).await, DeliveryOutcome::ConnectionGone, "deliver");
    let closed = fixture.delivery.close_connection(&closed_id, CloseReason::Kicked).await.expect("close");
    assert_eq!(closed, DeliveryOutcome::ConnectionGone, "close");
    let empty = to(Audience::Channel(channel_from_key("acme/room:lobby"))).await;
    assert_ne!(empty, DeliveryOutcome::ConnectionGone, "a channel is never gone");
}

/// A connection receives nothing more of a room that it was detached from.
pub async fn a_detached_channel_is_no_longer_received(fixture: DeliveryFixture) {
    let lobby = channel_from_key("acme/room:lobby");
    fixture.open_connection("a1", "acme", "alice", Role::User).await;
    fixture.join_channel("a1", &lobby).await;
    fixture.append_and_deliver(&lobby, 1).await;
    assert_eq!(fixture.received_frames("a1").await, [offset_frame(1)], "a joined room is received");
    fixture.leave_channel("a1", &lobby).await;
    fixture.append_and_deliver(&lobby, 2).await;
    assert_eq!(fixture.received_frames("a1").await, [""; 0], "a left room is not received");
}

/// A close passes its reason, which determines the close code.
pub async fn a_close_carries_its_reason(fixture: DeliveryFixture) {
    for (id, reason) in [("a1", CloseReason::Kicked), ("a2", CloseReason::TokenExpired)] {
        fixture.open_connection(id, "acme", "alice", Role::User).await;
        assert_eq!(fixture.receivers.close_reason(&connection_id(id)).await, None, "{id} is open");
        fixture.delivery.close_connection(&connection_id(id), reason).await.expect("close");
        assert_eq!(fixture.receivers.close_reason(&connection_id(id)).await, Some(reason), "{id} is closed");
    }
}

/// A repeated delivery of a message does not arrive again.
pub async fn a_placed_message_arrives_once_and_in_order(fixture: DeliveryFixture) {
    let conversation = channel_from_key("acme/conversation:alice");
    fixture.open_connection("a1", "acme", "alice", Role::User).await;
    for offset in [1, 2, 2, 3, 1] {
        fixture.append_and_deliver(&conversation, offset).await;
    }
    assert_eq!(
        fixture.received_frames("a1").await,
        [offset_frame(1), offset_frame(2), offset_frame(3)],
        "each once, in order"
    );
}

/// A paused channel delivers nothing, reports how far its head advanced, and is live after the resume.
pub async fn a_paused_channel_is_silent_until_it_is_resumed(fixture: DeliveryFixture) {
    let (id, conversation) = (connection_id("a1"), channel_from_key("acme/conversation:alice"));
    fixture.open_connection("a1", "acme", "alice", Role::User).await;
    let paused = fixture.delivery.pause_channels(&id, std::slice::from_ref(&conversation)).await.expect("pause");
    assert_ne!(paused, DeliveryOutcome::ConnectionGone, "the connection is open");
    fixture.append_and_deliver(&conversation, 1).await;
    fixture.append_and_deliver(&conversation, 2).await;
    assert_eq!(fixture.received_frames("a1").await, [""; 0], "a paused channel delivers nothing");
    assert_eq!(
        fixture.resume_channel(&conversation, 1).await,
        ResumeOutcome::HeadAdvanced(Offset(2)),
        "the head has advanced"
    );
    fixture.append_and_deliver(&conversation, 3).await;
    assert_eq!(
        fixture.resume_channel(&conversation, 2).await,
        ResumeOutcome::HeadAdvanced(Offset(3)),
        "the head has advanced again"
    );
    assert_eq!(fixture.resume_channel(&conversation, 3).await, ResumeOutcome::Live, "the channel is caught up");
    fixture.append_and_deliver(&conversation, 4).await;
    assert_eq!(fixture.received_frames("a1").await, [offset_frame(4)], "messages after the resume position are live");
}

/// Placed messages up to the resume position never arrive, also if the channel was not paused.
pub async fn nothing_up_to_the_resume_position_is_delivered(fixture: DeliveryFixture) {
    let conversation = channel_from_key("acme/conversation:alice");
    fixture.open_connection("a1", "acme", "alice", Role::User).await;
    for offset in 1..=3 {
        fixture.log.append(append_request(&conversation, "alice", &format!("m{offset}"), "1")).await.expect("append");
    }
    assert_eq!(fixture.resume_channel(&conversation, 3).await, ResumeOutcome::Live, "the channel is not paused");
    for offset in 1..=4 {
        fixture.append_and_deliver(&conversation, offset).await;
    }
    assert_eq!(
        fixture.received_frames("a1").await,
        [offset_frame(4)],
        "only messages after the resume position arrive"
    );
}

/// Frames without a placement (answers, resumed messages, typing) are delivered while a channel is paused.
pub async fn a_paused_channel_passes_frames_without_a_placement(fixture: DeliveryFixture) {
    let (id, conversation) = (connection_id("a1"), channel_from_key("acme/conversation:alice"));
    fixture.open_connection("a1", "acme", "alice", Role::User).await;
    fixture.delivery.pause_channels(&id, std::slice::from_ref(&conversation)).await.expect("pause");
    fixture.delivery.deliver(&Audience::Connection(id), ephemeral_frame("\"answer\"")).await.expect("deliver");
    fixture.delivery.deliver(&Audience::Channel(conversation), ephemeral_frame("\"typing\"")).await.expect("deliver");
    assert_eq!(
        fixture.received_frames("a1").await,
        ["\"answer\"", "\"typing\""],
        "frames without a placement are not paused"
    );
}

impl DeliveryFixture {
    async fn open_connection(&self, id: &str, of_tenant: &str, user: &str, role: Role) {
        let record = client_connection(id, of_tenant, user, role, self.now);
        self.connections.put_connection(&record).await.expect("put");
        self.receivers.open_connection(&record).await;
    }

    async fn join_channel(&self, id: &str, to: &Channel) {
        let (id, to) = (connection_id(id), std::slice::from_ref(to));
        self.connections.change_channels(&id, to, &[]).await.expect("join");
        self.delivery.pause_channels(&id, to).await.expect("pause");
        let head = self.log.heads(to).await.expect("heads").remove(0);
        let resumed = self.delivery.resume_channel(&id, &to[0], &head).await.expect("resume");
        assert_eq!(resumed, ResumeOutcome::Live, "no message was appended meanwhile");
    }

    async fn leave_channel(&self, id: &str, from: &Channel) {
        let (id, from) = (connection_id(id), std::slice::from_ref(from));
        self.connections.change_channels(&id, &[], from).await.expect("leave");
        self.delivery.detach_channels(&id, from).await.expect("detach");
    }

    /// Appends and delivers message `offset` of a channel, or delivers it again if it is already logged.
    async fn append_and_deliver(&self, to: &Channel, offset: u64) {
        let appended = self.log.append(append_request(to, "alice", &format!("m{offset}"), "1")).await.expect("append");
        assert_eq!(appended.position.offset, Offset(offset), "the cases append messages in order");
        let placement = Some(Placement { channel: to.clone(), position: appended.position });
        let outgoing = OutgoingFrame { frame: offset_frame(offset), priority: Priority::Direct, placement };
        self.delivery.deliver(&Audience::Channel(to.clone()), outgoing).await.expect("deliver");
    }

    async fn resume_channel(&self, of: &Channel, through: u64) -> ResumeOutcome {
        let head = self.log.heads(std::slice::from_ref(of)).await.expect("heads").remove(0);
        let through = Position { epoch: head.epoch, offset: Offset(through) };
        self.delivery.resume_channel(&connection_id("a1"), of, &through).await.expect("resume")
    }

    async fn received_frames(&self, id: &str) -> Vec<Bytes> {
        self.receivers.received_frames(&connection_id(id)).await
    }
}

fn offset_frame(offset: u64) -> Bytes {
    Bytes::from(format!("{{\"offset\":{offset}}}"))
}

fn ephemeral_frame(text: &'static str) -> OutgoingFrame {
    OutgoingFrame { frame: Bytes::from_static(text.as_bytes()), priority: Priority::Ephemeral, placement: None }
}
