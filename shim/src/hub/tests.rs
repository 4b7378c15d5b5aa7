use std::collections::BTreeMap;

use bytes::Bytes;
use gateway::api::{ApiDefinition, WebSocketApi};
use gateway::authorizer::AuthorizerContext;
use gateway::event::{ConnectionFacts, RequestIdentity as EventIdentity};
use gateway::quotas::Quotas;
use handlers::channel::{ChannelName, Epoch, Offset};
use handlers::conformance;
use handlers::conformance::delivery::{DeliveryFixture, TestReceivers};
use handlers::id::{MessageId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::memory::{ChannelRetention, ManualClock, MemoryConnections, MemoryLog};
use handlers::ports::{self, AppendRequest, MessageSender, Placement, Timestamp};
use serde_json::value::RawValue;

use super::*;

/// The clients of a hub's connections: reads the outboxes in place of the sessions.
struct HubReceivers(ChannelDelivery);

#[async_trait]
impl TestReceivers for HubReceivers {
    async fn open_connection(&self, connection: &ports::ClientConnection) {
        open(&self.0, gateway::id::parse_gateway_id(connection.id.as_str()).unwrap(), &connection.identity);
    }

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0
            .find_by_connection_id(id)
            .map(|connection| drain_texts(&connection))
            .unwrap_or_default()
            .into_iter()
            .map(Bytes::from)
            .collect()
    }

    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        close_reason_of(&*self.0.find_by_connection_id(id)?)
    }
}

pub(crate) fn close_reason_of(connection: &Connection) -> Option<CloseReason> {
    let waker = std::task::Waker::noop();
    let (_, cause) = connection.outbox().drain(&std::task::Context::from_waker(waker), &mut Vec::new(), usize::MAX);
    match cause? {
        CloseCause::Kicked => Some(CloseReason::Kicked),
        CloseCause::TokenExpired => Some(CloseReason::TokenExpired),
        other => panic!("closed for {other:?}"),
    }
}

fn fixture() -> DeliveryFixture {
    let (hub, log) = hub();
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let connections = Arc::new(MemoryConnections::new(clock));
    let receivers = Arc::new(HubReceivers(hub.clone()));
    DeliveryFixture { delivery: Arc::new(hub), connections, log, receivers, now: Timestamp(0) }
}

#[tokio::test]
async fn it_passes_the_delivery_contract_suite() {
    conformance::delivery::run_suite(async || fixture()).await;
    conformance::delivery::run_exactly_once_suite(async || fixture()).await;
}

pub(crate) fn log() -> MemoryLog {
    MemoryLog::new(Epoch("e".into()), ChannelRetention { max_entries: 10_000, max_bytes: 1 << 20 })
}

pub(crate) fn hub_over(log: Arc<dyn MessageLog>) -> ChannelDelivery {
    ChannelDelivery::new(ConnectionIndex::default(), log, TaskTracker::new(), Arc::default())
}

pub(crate) fn hub() -> (ChannelDelivery, Arc<MemoryLog>) {
    let log = Arc::new(log());
    (hub_over(log.clone()), log)
}

fn api() -> Arc<WebSocketApi> {
    let definition = ApiDefinition {
        id: "test".into(),
        region: "us-east-1".into(),
        account_id: "000000000000".into(),
        stage: "prod".into(),
        stage_variables: BTreeMap::new(),
        routes: Vec::new(),
        selection: "$request.body.action".into(),
        authorizer: None,
        api_key_required: false,
        quotas: Quotas::aws_profile(),
        settings: gateway::api::ApiSettings::default(),
    };
    Arc::new(WebSocketApi::new(definition).unwrap())
}

pub(crate) fn connect(hub: &ChannelDelivery, sequence: u32, user: &str, role: Role) -> Arc<Connection> {
    connect_on_node(hub, sequence, 1, user, role)
}

pub(crate) fn connect_on_node(
    hub: &ChannelDelivery,
    sequence: u32,
    node: u16,
    user: &str,
    role: Role,
) -> Arc<Connection> {
    let user = UserId::parse(user).unwrap();
    let identity = Identity { tenant: TenantId::default_tenant(), user, role, expires_at: None };
    open(hub, GatewayId::for_connection(u64::from(sequence), node), &identity)
}

pub(crate) fn open(hub: &ChannelDelivery, connection_id: GatewayId, identity: &Identity) -> Arc<Connection> {
    let entries = identity.to_context().into_iter().map(|(key, value)| {
        let value = gateway::authorizer::ContextValue::Text(value.as_str().unwrap().into());
        (key.into(), value)
    });
    let facts = ConnectionFacts {
        api: api(),
        connection_id,
        domain_name: "localhost".into(),
        connected_at: 0,
        identity: EventIdentity { iam: None, api_key: None, user_agent: None, source_ip: "127.0.0.1".into() },
        authorizer: Some(Arc::new(AuthorizerContext::new(identity.user.as_str(), entries.collect(), 0))),
    };
    let connection = Arc::new(Connection::new(Arc::new(facts), 1 << 20, Timestamp(0)));
    hub.opened(&connection);
    hub.connections().insert(&connection);
    assert_eq!(Membership::of(&connection).map(|membership| &membership.identity), Some(identity));
    connection
}

pub(crate) fn close(hub: &ChannelDelivery, connection: &Connection) {
    hub.connections().remove(connection.id);
    hub.closed(connection);
}

pub(crate) fn id(connection: &Connection) -> ConnectionId {
    ConnectionId::parse(connection.id.as_str()).unwrap()
}

pub(crate) fn channel(name: &str) -> Channel {
    ChannelName::parse(name).unwrap().in_tenant(TenantId::default_tenant())
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch("e".into()), offset: Offset(offset) }
}

pub(crate) fn placed(channel: &Channel, offset: u64) -> OutgoingFrame {
    OutgoingFrame {
        frame: format!("{offset}").into(),
        priority: Priority::Broadcast,
        placement: Some(Placement { channel: channel.clone(), position: at(offset) }),
    }
}

pub(crate) fn drain_texts(connection: &Connection) -> Vec<String> {
    let waker = std::task::Waker::noop();
    let mut batch = Vec::new();
    connection.outbox().drain(&std::task::Context::from_waker(waker), &mut batch, usize::MAX);
    batch.into_iter().map(|queued| String::from_utf8(queued.text.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_conversation_reaches_the_user_and_admins_once() {
    let (hub, _) = hub();
    let user = connect(&hub, 1, "alice", Role::User);
    let other = connect(&hub, 2, "bob", Role::User);
    let admin = connect(&hub, 3, "root", Role::Admin);
    let own = channel("conversation:alice");
    let delivered = hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    assert_eq!(delivered, DeliveryOutcome::Delivered(Some(2)));
    // An admin's own conversation is in both groups.
    let admins = channel("conversation:root");
    hub.deliver(&Audience::Channel(admins.clone()), placed(&admins, 1)).await.unwrap();
    assert_eq!((drain_texts(&user).len(), drain_texts(&other).len(), drain_texts(&admin).len()), (1, 0, 2));
}

#[tokio::test]
async fn a_room_reaches_its_members_until_they_leave_or_disconnect() {
    let (hub, _) = hub();
    let room = channel("room:lobby");
    let (first, second) = (connect(&hub, 1, "alice", Role::User), connect(&hub, 2, "bob", Role::User));
    for connection in [&first, &second] {
        hub.pause_channels(&id(connection), std::slice::from_ref(&room)).await.unwrap();
        assert_eq!(hub.resume_channel(&id(connection), &room, &at(0)).await.unwrap(), ResumeOutcome::Live);
    }
    hub.deliver(&Audience::Channel(room.clone()), placed(&room, 1)).await.unwrap();
    hub.detach_channels(&id(&first), std::slice::from_ref(&room)).await.unwrap();
    hub.deliver(&Audience::Channel(room.clone()), placed(&room, 2)).await.unwrap();
    assert_eq!(
        (drain_texts(&first), drain_texts(&second)),
        (vec!["1".to_owned()], vec!["1".to_owned(), "2".to_owned()])
    );
    close(&hub, &second);
    let delivered = hub.deliver(&Audience::Channel(room.clone()), placed(&room, 3)).await.unwrap();
    assert_eq!(delivered, DeliveryOutcome::Delivered(Some(0)));
    assert_eq!(hub.connections().len(), 1);
}

#[tokio::test]
async fn a_closed_connection_is_gone() {
    let (hub, _) = hub();
    let connection = connect(&hub, 1, "alice", Role::User);
    close(&hub, &connection);
    let audience = Audience::Connection(id(&connection));
    let outgoing = OutgoingFrame { frame: "x".into(), priority: Priority::Control, placement: None };
    assert_eq!(hub.deliver(&audience, outgoing).await.unwrap(), DeliveryOutcome::ConnectionGone);
    assert_eq!(
        hub.pause_channels(&id(&connection), &[channel("room:lobby")]).await.unwrap(),
        DeliveryOutcome::ConnectionGone
    );
    assert_eq!(
        hub.close_connection(&id(&connection), CloseReason::Kicked).await.unwrap(),
        DeliveryOutcome::ConnectionGone
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_never_delivered_is_read_from_the_log() {
    let (hub, log) = hub();
    let connection = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    append(&log, &own, &["a", "b", "c"]).await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    // The handler of offset 2 died between append and delivery.
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 3)).await.unwrap();
    assert_eq!(drain_texts(&connection), ["1"]);
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    let frames = drain_texts(&connection);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].contains("\"offset\":2"), "{}", frames[0]);
    assert_eq!(hub.shared.metrics.backfilled_ranges.get(), 1);
}

/// Two handlers append at the same moment; the delivery of the second overtakes that of the first. Nobody has resumed the
/// channel, so only the log shows that a message is missing.
#[tokio::test(start_paused = true)]
async fn the_first_two_messages_of_a_channel_arrive_in_order_although_they_are_delivered_swapped() {
    let (hub, log) = hub();
    let alice = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    append(&log, &own, &["a", "b"]).await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 2)).await.unwrap();
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    assert_eq!(drain_texts(&alice), ["1", "2"]);
}

/// As above, but the first two messages of this process are not the first of the log, and the second handler is late.
#[tokio::test(start_paused = true)]
async fn the_first_message_of_a_process_does_not_overtake_the_one_before_it() {
    let (hub, log) = hub();
    let alice = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    append(&log, &own, &["a", "b"]).await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 2)).await.unwrap();
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    let frames = drain_texts(&alice);
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert!(frames[0].contains("\"offset\":1") && frames[1] == "2", "{frames:?}");
}

/// Reading creates no state: names that a client invents are forgotten with their last reader, and without a sweep.
#[tokio::test]
async fn channels_that_were_only_read_use_no_memory_after_their_last_reader() {
    let (hub, log) = hub();
    let alice = connect(&hub, 1, "alice", Role::User);
    for frame in 0..200 {
        let names: Vec<Channel> = (0..50).map(|number| channel(&format!("topic:t{frame}-{number}"))).collect();
        hub.pause_channels(&id(&alice), &names).await.unwrap();
        for name in &names {
            assert_eq!(hub.resume_channel(&id(&alice), name, &at(0)).await.unwrap(), ResumeOutcome::Live);
        }
        hub.detach_channels(&id(&alice), &names).await.unwrap();
    }
    assert_eq!(hub.shared.channels.len(), 0);
    let held: Vec<Channel> = (0..50).map(|number| channel(&format!("room:r{number}"))).collect();
    hub.pause_channels(&id(&alice), &held).await.unwrap();
    assert_eq!(hub.shared.channels.len(), 50);
    append(&log, &held[0], &["a"]).await;
    hub.deliver(&Audience::Channel(held[0].clone()), placed(&held[0], 1)).await.unwrap();
    close(&hub, &alice);
    assert!(hub.shared.channels.iter().map(|entry| entry.key().clone()).eq([held[0].clone()]), "it has a message");
}

#[tokio::test]
async fn an_evicted_order_is_not_used_by_a_caller_that_found_it_before() {
    let (hub, _) = hub();
    let alice = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    let found = hub.shared.channels.get(&own).unwrap().value().clone();
    close(&hub, &alice);
    hub.evict_unread_channels(&handlers::audience::Group::User(own.tenant.clone(), UserId::parse("alice").unwrap()));
    assert!(found.lock().evicted);
    assert!(hub.lock_known_channel(&own).is_none());
    // A look-up between the mark and the removal.
    hub.shared.channels.insert(own.clone(), found.clone());
    let lookup = tokio::task::spawn_blocking({
        let (hub, own) = (hub.clone(), own.clone());
        move || hub.lock_channel(&own).evicted
    });
    hub.shared.channels.remove(&own);
    assert!(!lookup.await.unwrap());
}

pub(crate) async fn append(log: &MemoryLog, channel: &Channel, ids: &[&str]) {
    for id in ids {
        let append = AppendRequest {
            channel: channel.clone(),
            sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
            id: MessageId::parse(id).unwrap(),
            sent_at: Timestamp(0),
            body: RawValue::from_string("1".to_owned()).unwrap().into(),
        };
        log.append(append).await.unwrap();
    }
}

/// A hub that has delivered offset 7 of epoch `old` to alice, and whose log is a new one with two messages.
async fn hub_whose_log_was_lost() -> (ChannelDelivery, Arc<Connection>, Channel) {
    let (hub, log) = hub();
    let (alice, own) = (connect(&hub, 1, "alice", Role::User), channel("conversation:alice"));
    append(&log, &own, &["a", "b"]).await;
    let old = Position { epoch: Epoch("old".into()), ..at(6) };
    hub.pause_channels(&id(&alice), std::slice::from_ref(&own)).await.unwrap();
    assert_eq!(hub.resume_channel(&id(&alice), &own, &old).await.unwrap(), ResumeOutcome::Live);
    let mut before = placed(&own, 7);
    before.placement =
        Some(Placement { channel: own.clone(), position: Position { epoch: Epoch("old".into()), ..at(7) } });
    hub.deliver(&Audience::Channel(own.clone()), before).await.unwrap();
    assert_eq!(drain_texts(&alice), ["7"]);
    (hub, alice, own)
}

/// Notice that the log was replaced and no message of the new epoch is skipped.
const EPOCH_GAP: &str = r#"{"type":"gap","channel":"conversation:alice","from":1,"to":0,"epoch":"e","reason":"epoch"}"#;

#[tokio::test(start_paused = true)]
async fn readers_receive_a_gap_for_a_lost_log_before_its_first_message() {
    let (hub, alice, own) = hub_whose_log_was_lost().await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 2)).await.unwrap();
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    let frames = drain_texts(&alice);
    assert_eq!((frames.len(), frames[0].as_str()), (3, EPOCH_GAP));
    assert!(frames[1].contains("\"offset\":1") && frames[2].contains("\"offset\":2"), "{frames:?}");
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 3)).await.unwrap();
    assert_eq!(drain_texts(&alice), ["3"]);
}

#[tokio::test(start_paused = true)]
async fn a_resume_in_a_new_epoch_receives_nothing_twice_and_other_readers_receive_all_of_it() {
    let (hub, alice, own) = hub_whose_log_was_lost().await;
    let second = connect(&hub, 2, "alice", Role::User);
    hub.pause_channels(&id(&second), std::slice::from_ref(&own)).await.unwrap();
    assert_eq!(hub.resume_channel(&id(&second), &own, &at(2)).await.unwrap(), ResumeOutcome::Live);
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    assert_eq!(drain_texts(&second), [""; 0], "the resume has sent all of it");
    let frames = drain_texts(&alice);
    assert_eq!((frames.len(), frames[0].as_str()), (3, EPOCH_GAP));
}
