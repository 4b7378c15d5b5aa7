//! Delivery: its contract, and broadcasts with receivers that are gone, slow, throttled or denied.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use handlers::audience::Audience;
use handlers::channel::Channel;
use handlers::conformance::delivery::{DeliveryFixture, TestReceivers, run_suite};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::memory::{ChannelRetention, MemoryLog};
use handlers::ports::{
    ClientConnection, CloseReason, ConnectionStore, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, Priority,
    Timestamp,
};
use handlers_aws::config::AppConfig;
use handlers_aws::connections::DynamoConnections;
use handlers_aws::delivery::{ApiGatewayDelivery, DeliveryLimits};
use handlers_aws::wiring;

use serde_json::{Value, json};

use crate::counts::{event, text};
use crate::gateway::{Gateway, Mood};
use crate::support::{Database, NOW, RETENTION, database, lambda_clock, sdk};

struct Sockets(Arc<Gateway>);

#[async_trait]
impl TestReceivers for Sockets {
    async fn open_connection(&self, connection: &ClientConnection) {
        self.0.set(&connection.id, Mood::Open);
    }

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0.take(id)
    }

    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.0.closed(id)
    }
}

struct World {
    dynamo: aws_sdk_dynamodb::Client,
    table: String,
    gateway: Arc<Gateway>,
    store: Arc<DynamoConnections>,
    delivery: Arc<ApiGatewayDelivery>,
}

impl World {
    async fn new(database: &Database, limits: DeliveryLimits) -> Self {
        let gateway = Arc::new(Gateway::start().await);
        let endpoint = gateway.stub.endpoint();
        let client = wiring::management_client(&sdk(&endpoint).await, &format!("{endpoint}/prod"));
        let (dynamo, table) = (database.client.clone(), database.connections_table().await);
        let store = Arc::new(DynamoConnections::new(dynamo.clone(), &table, lambda_clock()));
        let delivery = Arc::new(ApiGatewayDelivery::new(client, store.clone(), limits));
        Self { dynamo, table, gateway, store, delivery }
    }

    /// Connections of the room, and their ids.
    async fn room_of(&self, count: usize) -> Vec<ConnectionId> {
        let records: Vec<ClientConnection> = (0..count).map(member).collect();
        let puts = records.iter().map(|record| async {
            self.store.put_connection(record).await.unwrap();
            self.gateway.set(&record.id, Mood::Open);
        });
        stream::iter(puts).buffer_unordered(16).collect::<Vec<()>>().await;
        records.into_iter().map(|record| record.id).collect()
    }

    /// What the application answers an admin who asks for the room's presence.
    async fn presence(&self) -> Value {
        let endpoint = self.gateway.stub.endpoint();
        let stores = AppConfig {
            limits: handlers::limits::Limits::default(),
            connections_table: self.table.clone(),
            messages_table: "messages".to_owned(),
            management_endpoint: format!("{endpoint}/prod"),
            retention: RETENTION,
        };
        let management = wiring::management_client(&sdk(&endpoint).await, &stores.management_endpoint);
        let app = wiring::build_app(&self.dynamo, management, &stores, lambda_clock());
        let frame = json!({"action": "presence", "channels": ["room:lobby"]}).to_string();
        let answer = app.handle_message(event("root", "root", "admin", "$default", Some(&frame))).await.unwrap();
        let mut answer: Value = serde_json::from_str(&text(answer)).unwrap();
        answer["channels"]["room:lobby"].take()
    }

    async fn say(&self) -> Result<DeliveryOutcome, DeliveryError> {
        self.delivery.deliver(&Audience::Channel(lobby()), frame()).await
    }
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

fn member(number: usize) -> ClientConnection {
    let (tenant, user) = (TenantId::parse("acme").unwrap(), UserId::parse(&format!("user{number}")).unwrap());
    ClientConnection {
        id: ConnectionId::parse(&format!("{number:0>15}=")).unwrap(),
        identity: Identity { tenant, user, role: Role::User, expires_at: None },
        // Long enough ago for its handshake to be over.
        connected_at: Timestamp(NOW.0 - 60_000),
        channels: BTreeSet::from([lobby()]),
    }
}

fn frame() -> OutgoingFrame {
    OutgoingFrame { frame: Bytes::from_static(b"{\"n\":1}"), priority: Priority::Broadcast, placement: None }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let Some(database) = database().await else { return };
    run_suite(async || {
        let World { gateway, store, delivery, .. } = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
        let log = MemoryLog::new(
            handlers::channel::Epoch("e1".into()),
            ChannelRetention { max_entries: 100, max_bytes: 1 << 20 },
        );
        DeliveryFixture {
            delivery,
            connections: store,
            log: Arc::new(log),
            receivers: Arc::new(Sockets(gateway)),
            now: NOW,
        }
    })
    .await;
}

/// 1,000 receivers of which 300 are gone: the others get the frame, the gone are forgotten, and only they.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_forgets_those_who_are_gone() {
    let Some(database) = database().await else { return };
    let world = World::new(
        &database,
        DeliveryLimits { delivery_timeout: Duration::from_secs(120), ..DeliveryLimits::FOR_LAMBDA },
    )
    .await;
    let ids = world.room_of(1_000).await;
    ids.iter().take(300).for_each(|id| world.gateway.set(id, Mood::Gone));
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(700)));
    assert!(ids[300..].iter().all(|id| world.gateway.take(id).len() == 1), "everybody else has it once");
    let (posts, most) = world.gateway.posts();
    assert!(posts == 1_000 && most <= DeliveryLimits::FOR_LAMBDA.max_parallel_posts, "{posts} posts, {most} at a time");
    let left = world.store.list_members(&Audience::Channel(lobby()), None, 1).await.unwrap();
    assert_eq!(left.total, 700, "the gone are in no list");
    assert_eq!(world.store.find_connection(&ids[0]).await.unwrap(), None, "nor found");
    let ended = world.store.delete_connection(&ids[0]).await.unwrap();
    assert_eq!(ended, Some(member(0)), "but by their $disconnect, which tells others");
    assert_eq!(world.store.delete_connection(&ids[0]).await.unwrap(), None, "once");
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(700)), "and are not posted to again");
    let presence = world.presence().await;
    assert_eq!((&presence["connections"], &presence["users"]), (&json!(700), &json!(700)), "{presence}");
}

/// Between its `$connect` and its `101` posts to a connection are answered 410 as well.
#[tokio::test]
async fn a_connection_that_is_about_to_open_is_not_forgotten() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let opening = ClientConnection { connected_at: NOW, ..member(1) };
    world.store.put_connection(&opening).await.unwrap();
    world.gateway.set(&opening.id, Mood::Gone);
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(0)));
    assert_eq!(world.store.find_connection(&opening.id).await.unwrap().as_ref(), Some(&opening));
    world.gateway.set(&opening.id, Mood::Open);
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(1)), "it has opened, and is in its room");
}

#[tokio::test]
async fn a_throttled_post_is_tried_again_and_a_denied_one_names_the_permission() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let ids = world.room_of(3).await;
    world.gateway.set(&ids[0], Mood::Throttled(2));
    world.gateway.set(&ids[1], Mood::Throttled(1_000));
    assert_eq!(
        world.say().await.unwrap(),
        DeliveryOutcome::Delivered(Some(2)),
        "two of three, the third stayed throttled"
    );
    assert_eq!(world.gateway.take(&ids[0]).len(), 1, "after 429 and 429 it was taken");
    let one = world.delivery.deliver(&Audience::Connection(ids[1].clone()), frame()).await;
    assert!(matches!(one, Err(DeliveryError::Unavailable(_))), "{one:?}");
    ids.iter().for_each(|id| world.gateway.set(id, Mood::Denied));
    let Err(DeliveryError::Backend { source, .. }) = world.say().await else {
        panic!("a denied broadcast is a failure")
    };
    assert!(source.to_string().contains("execute-api:ManageConnections"), "{source}");
    assert!(world.store.find_connection(&ids[0]).await.unwrap().is_some(), "nobody was forgotten for it");
}

#[tokio::test]
async fn one_that_does_not_answer_holds_up_nobody_beyond_its_post() {
    let Some(database) = database().await else { return };
    let limits = DeliveryLimits {
        max_parallel_posts: 4,
        post_timeout: Duration::from_millis(300),
        delivery_timeout: Duration::from_secs(60),
    };
    let world = World::new(&database, limits).await;
    let ids = world.room_of(12).await;
    world.gateway.set(&ids[0], Mood::Silent);
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(11)));
    assert!(ids[1..].iter().all(|id| world.gateway.take(id).len() == 1));
    let silent = world.delivery.deliver(&Audience::Connection(ids[0].clone()), frame()).await;
    assert!(matches!(silent, Err(DeliveryError::Unavailable(_))), "{silent:?}");
}

#[tokio::test]
async fn posts_are_made_some_at_a_time() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits { max_parallel_posts: 4, ..DeliveryLimits::FOR_LAMBDA }).await;
    world.room_of(10).await;
    world.gateway.open(false);
    let (said, ()) = tokio::join!(world.say(), async {
        world.gateway.until_under_way(4).await;
        world.gateway.open(true);
    });
    assert_eq!(said.unwrap(), DeliveryOutcome::Delivered(Some(10)));
    assert_eq!(world.gateway.posts(), (10, 4), "ten posts, four at a time");
}

/// A membership that the end of its connection left behind, because the process died half-way, is cleared by the first
/// broadcast that meets it.
#[tokio::test]
async fn a_leftover_membership_is_cleared_by_a_broadcast() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let ids = world.room_of(2).await;
    world.gateway.set(&ids[0], Mood::Gone);
    let delete = world.dynamo.delete_item().table_name(&world.table);
    let delete = delete.key("pk", AttributeValue::S(format!("c#{}", ids[0])));
    delete.key("sk", AttributeValue::S("record".to_owned())).send().await.unwrap();
    assert_eq!(world.store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap().total, 2);
    assert_eq!(world.say().await.unwrap(), DeliveryOutcome::Delivered(Some(1)));
    assert_eq!(world.store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap().total, 1);
}
