use std::collections::BTreeMap;

use bytes::Bytes;
use gateway::api::{Api, ApiDefinition};
use gateway::authorizer::AuthorizerContext;
use gateway::event::{ConnectionFacts, Identity as EventIdentity};
use gateway::quotas::Quotas;
use handlers::channel::{ChannelName, Epoch, Offset};
use handlers::conformance;
use handlers::conformance::delivery::{Fixture, Receivers};
use handlers::id::{MessageId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::memory::{ManualClock, MemoryConnections, MemoryLog, Retention};
use handlers::ports::{self, Append, Placement, Sender, Timestamp};
use serde_json::value::RawValue;

use super::*;

/// The other end of a hub's connections: what the session would have taken from their outboxes.
struct Outboxes(ChannelDelivery);

#[async_trait]
impl Receivers for Outboxes {
    async fn open(&self, connection: &ports::Connection) {
        open(&self.0, gateway::id::check(connection.id.as_str()).unwrap(), &connection.identity);
    }

    async fn received(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0.named(id).map(|handle| drained(&handle)).unwrap_or_default().into_iter().map(Bytes::from).collect()
    }

    async fn closed(&self, id: &ConnectionId) -> Option<CloseReason> {
        closed_for(&*self.0.named(id)?)
    }
}

pub(crate) fn closed_for(handle: &Connection) -> Option<CloseReason> {
    let waker = std::task::Waker::noop();
    let (_, cause) = handle.outbox().drain(&std::task::Context::from_waker(waker), &mut Vec::new(), usize::MAX);
    match cause? {
        CloseCause::Kicked => Some(CloseReason::Kicked),
        CloseCause::TokenExpired => Some(CloseReason::TokenExpired),
        other => panic!("closed for {other:?}"),
    }
}

fn fixture() -> Fixture {
    let (hub, log) = hub();
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let connections = Arc::new(MemoryConnections::new(clock));
    let receivers = Arc::new(Outboxes(hub.clone()));
    Fixture { delivery: Arc::new(hub), connections, log, receivers, now: Timestamp(0) }
}

#[tokio::test]
async fn it_keeps_the_contract_of_delivery() {
    conformance::delivery::all(async || fixture()).await;
    conformance::delivery::exactly_once(async || fixture()).await;
}

pub(crate) fn log() -> MemoryLog {
    MemoryLog::new(Epoch("e".into()), Retention { entries: 10_000, bytes: 1 << 20 })
}

pub(crate) fn hub_over(log: Arc<dyn MessageLog>) -> ChannelDelivery {
    ChannelDelivery::new(ConnectionIndex::default(), log, TaskTracker::new(), Arc::default())
}

pub(crate) fn hub() -> (ChannelDelivery, Arc<MemoryLog>) {
    let log = Arc::new(log());
    (hub_over(log.clone()), log)
}

fn api() -> Arc<Api> {
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
        quotas: Quotas::aws(),
        settings: gateway::api::ApiSettings::default(),
    };
    Arc::new(Api::new(definition).unwrap())
}

fn connect(hub: &ChannelDelivery, sequence: u32, user: &str, role: Role) -> Arc<Connection> {
    connect_at(hub, sequence, 1, user, role)
}

pub(crate) fn connect_at(hub: &ChannelDelivery, sequence: u32, node: u16, user: &str, role: Role) -> Arc<Connection> {
    let user = UserId::parse(user).unwrap();
    let identity = Identity { tenant: TenantId::default_tenant(), user, role, expires_at: None };
    open(hub, GatewayId::connection(0, sequence, node), &identity)
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
    let handle = Arc::new(Connection::new(Arc::new(facts), 1 << 20, Timestamp(0)));
    hub.opened(&handle);
    hub.connections().insert(&handle);
    assert_eq!(Membership::of(&handle).map(|membership| &membership.identity), Some(identity));
    handle
}

pub(crate) fn close(hub: &ChannelDelivery, handle: &Connection) {
    hub.connections().remove(handle.id);
    hub.closed(handle);
}

pub(crate) fn id(handle: &Connection) -> ConnectionId {
    ConnectionId::parse(handle.id.as_str()).unwrap()
}

pub(crate) fn channel(name: &str) -> Channel {
    ChannelName::parse(name).unwrap().within(TenantId::default_tenant())
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch("e".into()), offset: Offset(offset) }
}

pub(crate) fn placed(channel: &Channel, offset: u64) -> Outgoing {
    Outgoing {
        frame: format!("{offset}").into(),
        priority: Priority::Broadcast,
        placement: Some(Placement { channel: channel.clone(), position: at(offset) }),
    }
}

pub(crate) fn drained(handle: &Connection) -> Vec<String> {
    let waker = std::task::Waker::noop();
    let mut batch = Vec::new();
    handle.outbox().drain(&std::task::Context::from_waker(waker), &mut batch, usize::MAX);
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
    assert_eq!(delivered, Delivered::To(Some(2)));
    // An admin's own conversation is in both groups.
    let admins = channel("conversation:root");
    hub.deliver(&Audience::Channel(admins.clone()), placed(&admins, 1)).await.unwrap();
    assert_eq!((drained(&user).len(), drained(&other).len(), drained(&admin).len()), (1, 0, 2));
}

#[tokio::test]
async fn rooms_reach_those_who_joined_until_they_leave_or_end() {
    let (hub, _) = hub();
    let room = channel("room:lobby");
    let (first, second) = (connect(&hub, 1, "alice", Role::User), connect(&hub, 2, "bob", Role::User));
    for handle in [&first, &second] {
        hub.hold(&id(handle), std::slice::from_ref(&room)).await.unwrap();
        assert_eq!(hub.release(&id(handle), &room, &at(0)).await.unwrap(), Released::Live);
    }
    hub.deliver(&Audience::Channel(room.clone()), placed(&room, 1)).await.unwrap();
    hub.detach(&id(&first), std::slice::from_ref(&room)).await.unwrap();
    hub.deliver(&Audience::Channel(room.clone()), placed(&room, 2)).await.unwrap();
    assert_eq!((drained(&first), drained(&second)), (vec!["1".to_owned()], vec!["1".to_owned(), "2".to_owned()]));
    close(&hub, &second);
    let delivered = hub.deliver(&Audience::Channel(room.clone()), placed(&room, 3)).await.unwrap();
    assert_eq!(delivered, Delivered::To(Some(0)));
    assert_eq!(hub.connections().len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_not_open_is_gone() {
    let (hub, _) = hub();
    let handle = connect(&hub, 1, "alice", Role::User);
    close(&hub, &handle);
    let audience = Audience::Connection(id(&handle));
    let outgoing = Outgoing { frame: "x".into(), priority: Priority::Control, placement: None };
    assert_eq!(hub.deliver(&audience, outgoing).await.unwrap(), Delivered::Gone);
    assert_eq!(hub.hold(&id(&handle), &[channel("room:lobby")]).await.unwrap(), Delivered::Gone);
    assert_eq!(hub.close(&id(&handle), CloseReason::Kicked).await.unwrap(), Delivered::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_never_delivered_is_filled_from_the_log() {
    let (hub, log) = hub();
    let handle = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    append(&log, &own, &["a", "b", "c"]).await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    // The handler of offset 2 died between append and delivery.
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 3)).await.unwrap();
    assert_eq!(drained(&handle), ["1"]);
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    let frames = drained(&handle);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].contains("\"offset\":2"), "{}", frames[0]);
    assert_eq!(hub.shared.metrics.holes.get(), 1);
}

#[tokio::test]
async fn an_order_that_is_forgotten_is_used_by_nobody_who_found_it_before() {
    let (hub, _) = hub();
    let alice = connect(&hub, 1, "alice", Role::User);
    let own = channel("conversation:alice");
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 1)).await.unwrap();
    let found = hub.shared.channels.get(&own).unwrap().value().clone();
    close(&hub, &alice);
    hub.forget_order(&handlers::audience::Group::User(own.tenant.clone(), UserId::parse("alice").unwrap()));
    assert!(found.lock().forgotten);
    assert!(hub.known_order(&own).is_none());
    // One that is looked up in the very moment between the mark and the removal.
    hub.shared.channels.insert(own.clone(), found.clone());
    let looking = tokio::task::spawn_blocking({
        let (hub, own) = (hub.clone(), own.clone());
        move || hub.order(&own).forgotten
    });
    hub.shared.channels.remove(&own);
    assert!(!looking.await.unwrap());
}

pub(crate) async fn append(log: &MemoryLog, channel: &Channel, ids: &[&str]) {
    for id in ids {
        let append = Append {
            channel: channel.clone(),
            sender: Sender { user: UserId::parse("alice").unwrap(), role: Role::User },
            id: MessageId::parse(id).unwrap(),
            sent_at: Timestamp(0),
            body: RawValue::from_string("1".to_owned()).unwrap().into(),
        };
        log.append(append).await.unwrap();
    }
}

/// A hub that has passed 7 messages of epoch `old` on to alice, and whose log is another one now, with two messages.
async fn hub_whose_log_was_lost() -> (ChannelDelivery, Arc<Connection>, Channel) {
    let (hub, log) = hub();
    let (alice, own) = (connect(&hub, 1, "alice", Role::User), channel("conversation:alice"));
    append(&log, &own, &["a", "b"]).await;
    let mut before = placed(&own, 7);
    before.placement =
        Some(Placement { channel: own.clone(), position: Position { epoch: Epoch("old".into()), ..at(7) } });
    hub.deliver(&Audience::Channel(own.clone()), before).await.unwrap();
    assert_eq!(drained(&alice), ["7"]);
    (hub, alice, own)
}

const LOST: &str = r#"{"type":"gap","channel":"conversation:alice","from":1,"to":0,"epoch":"e","reason":"epoch"}"#;

#[tokio::test(start_paused = true)]
async fn readers_are_told_of_a_lost_log_before_they_get_its_first_message() {
    let (hub, alice, own) = hub_whose_log_was_lost().await;
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 2)).await.unwrap();
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    let frames = drained(&alice);
    assert_eq!((frames.len(), frames[0].as_str()), (3, LOST));
    assert!(frames[1].contains("\"offset\":1") && frames[2].contains("\"offset\":2"), "{frames:?}");
    hub.deliver(&Audience::Channel(own.clone()), placed(&own, 3)).await.unwrap();
    assert_eq!(drained(&alice), ["3"]);
}

#[tokio::test(start_paused = true)]
async fn who_resumes_in_a_new_epoch_gets_nothing_twice_and_the_others_all_of_it() {
    let (hub, alice, own) = hub_whose_log_was_lost().await;
    let second = connect(&hub, 2, "alice", Role::User);
    hub.hold(&id(&second), std::slice::from_ref(&own)).await.unwrap();
    assert_eq!(hub.release(&id(&second), &own, &at(2)).await.unwrap(), Released::Live);
    hub.shared.tasks.close();
    hub.shared.tasks.wait().await;
    assert_eq!(drained(&second), [""; 0], "its resume has sent it all");
    let frames = drained(&alice);
    assert_eq!((frames.len(), frames[0].as_str()), (3, LOST));
}
