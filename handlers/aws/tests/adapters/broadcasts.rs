//! Delivery: the port's contract, and broadcasts to gone, slow, throttled and denied connections.

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
use crate::gateway::{GatewayStub, PostReply};
use crate::support::{Database, NOW, RETENTION, database, lambda_clock, sdk};

struct StubReceivers(Arc<GatewayStub>);

#[async_trait]
impl TestReceivers for StubReceivers {
    async fn open_connection(&self, connection: &ClientConnection) {
        self.0.set_reply(&connection.id, PostReply::Accepted);
    }

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0.take_frames(id)
    }

    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.0.close_reason(id)
    }
}

struct World {
    dynamo: aws_sdk_dynamodb::Client,
    table: String,
    gateway: Arc<GatewayStub>,
    store: Arc<DynamoConnections>,
    delivery: Arc<ApiGatewayDelivery>,
}

impl World {
    async fn new(database: &Database, limits: DeliveryLimits) -> Self {
        let gateway = Arc::new(GatewayStub::start().await);
        let endpoint = gateway.stub.endpoint();
        let client = wiring::management_client(&sdk(&endpoint).await, &format!("{endpoint}/prod"));
        let (dynamo, table) = (database.client.clone(), database.connections_table().await);
        let store = Arc::new(DynamoConnections::new(dynamo.clone(), &table, lambda_clock()));
        let delivery = Arc::new(ApiGatewayDelivery::new(client, store.clone(), limits));
        Self { dynamo, table, gateway, store, delivery }
    }

    /// Registers `count` members of the room, whose posts are accepted, and returns their ids.
    async fn room_of(&self, count: usize) -> Vec<ConnectionId> {
        let records: Vec<ClientConnection> = (0..count).map(member).collect();
        let puts = records.iter().map(|record| async {
            self.store.put_connection(record).await.unwrap();
            self.gateway.set_reply(&record.id, PostReply::Accepted);
        });
        stream::iter(puts).buffer_unordered(16).collect::<Vec<()>>().await;
        records.into_iter().map(|record| record.id).collect()
    }

    /// Returns the application's reply to an admin's presence request for the room.
    async fn presence(&self) -> Value {
        let endpoint = self.gateway.stub.endpoint();
        let config = AppConfig {
            limits: handlers::limits::Limits::default(),
            presence_names: handlers::channel_policy::PresenceNames::default(),
            connections_table: self.table.clone(),
            messages_table: "messages".to_owned(),
            management_endpoint: format!("{endpoint}/prod"),
            retention: RETENTION,
        };
        let management = wiring::management_client(&sdk(&endpoint).await, &config.management_endpoint);
        let app = wiring::build_app(&self.dynamo, management, &config, lambda_clock());
        let frame = json!({"action": "presence", "channels": ["room:lobby"]}).to_string();
        let reply = app.handle_message(event("root", "root", "admin", "$default", Some(&frame))).await.unwrap();
        let mut reply: Value = serde_json::from_str(&text(reply)).unwrap();
        reply["channels"]["room:lobby"].take()
    }

    async fn broadcast(&self) -> Result<DeliveryOutcome, DeliveryError> {
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
        // Longer ago than the longest handshake.
        connected_at: Timestamp(NOW.0 - 60_000),
        channels: BTreeSet::from([lobby()]),
    }
}

fn frame() -> OutgoingFrame {
    OutgoingFrame { frame: Bytes::from_static(b"{\"n\":1}"), priority: Priority::Broadcast, placement: None }
}

#[tokio::test]
async fn delivery_fulfils_the_contract() {
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
            receivers: Arc::new(StubReceivers(gateway)),
            now: NOW,
        }
    })
    .await;
}

/// Of 1,000 connections 300 are gone: the others receive the frame, and only the gone ones are removed from the
/// listings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_removes_gone_connections_from_listings() {
    let Some(database) = database().await else { return };
    let world = World::new(
        &database,
        DeliveryLimits { delivery_timeout: Duration::from_secs(120), ..DeliveryLimits::FOR_LAMBDA },
    )
    .await;
    let ids = world.room_of(1_000).await;
    ids.iter().take(300).for_each(|id| world.gateway.set_reply(id, PostReply::Gone));
    assert_eq!(world.broadcast().await.unwrap(), DeliveryOutcome::Delivered(Some(700)));
    assert!(
        ids[300..].iter().all(|id| world.gateway.take_frames(id).len() == 1),
        "every other connection received it once"
    );
    let (posts, max_parallel) = world.gateway.post_counts();
    assert!(
        posts == 1_000 && max_parallel <= DeliveryLimits::FOR_LAMBDA.max_parallel_posts,
        "{posts} posts, {max_parallel} at a time"
    );
    let left = world.store.list_members(&Audience::Channel(lobby()), None, 1).await.unwrap();
    assert_eq!(left.total, 700, "gone connections are not listed");
    assert_eq!(world.store.find_connection(&ids[0]).await.unwrap(), None, "and not found");
    let deleted = world.store.delete_connection(&ids[0]).await.unwrap();
    assert_eq!(deleted, Some(member(0)), "except by their $disconnect, which notifies others");
    assert_eq!(world.store.delete_connection(&ids[0]).await.unwrap(), None, "once");
    assert_eq!(
        world.broadcast().await.unwrap(),
        DeliveryOutcome::Delivered(Some(700)),
        "no further posts to gone connections"
    );
    let presence = world.presence().await;
    assert_eq!((&presence["connections"], &presence["users"]), (&json!(700), &json!(700)), "{presence}");
}

/// API Gateway knows no expiry of tokens, so a delivery closes the connections whose token has expired: those found in
/// the index of a user, and those found among the members of a room.
#[tokio::test]
async fn a_delivery_closes_connections_with_an_expired_token_instead_of_posting() {
    let Some(database) = database().await else { return };
    for by_user in [false, true] {
        let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
        let with_expiry = |number, expires_at| {
            let mut connection = member(number);
            connection.identity.user = UserId::parse("alice").unwrap();
            connection.identity.expires_at = Some(expires_at);
            connection
        };
        let expired = with_expiry(1, NOW.unix_seconds());
        let valid = with_expiry(2, NOW.unix_seconds() + 1);
        for connection in [&expired, &valid] {
            world.store.put_connection(connection).await.unwrap();
            world.gateway.set_reply(&connection.id, PostReply::Accepted);
        }
        let audience = match by_user {
            true => Audience::User(valid.identity.tenant.clone(), valid.identity.user.clone()),
            false => Audience::Channel(lobby()),
        };
        assert_eq!(world.delivery.deliver(&audience, frame()).await.unwrap(), DeliveryOutcome::Delivered(Some(1)));
        assert_eq!(world.gateway.close_reason(&expired.id), Some(CloseReason::TokenExpired));
        assert!(!world.gateway.take_frames(&expired.id).contains(&frame().frame));
        assert_eq!(world.gateway.take_frames(&valid.id), [frame().frame]);
        assert_eq!(world.gateway.close_reason(&valid.id), None);
    }
}

/// Between `$connect` and `101`, `@connections` answers 410 as well.
#[tokio::test]
async fn a_connection_that_is_opening_stays_listed() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let opening = ClientConnection { connected_at: NOW, ..member(1) };
    world.store.put_connection(&opening).await.unwrap();
    world.gateway.set_reply(&opening.id, PostReply::Gone);
    assert_eq!(world.broadcast().await.unwrap(), DeliveryOutcome::Delivered(Some(0)));
    assert_eq!(world.store.find_connection(&opening.id).await.unwrap().as_ref(), Some(&opening));
    world.gateway.set_reply(&opening.id, PostReply::Accepted);
    assert_eq!(
        world.broadcast().await.unwrap(),
        DeliveryOutcome::Delivered(Some(1)),
        "it is open and still in its room"
    );
}

#[tokio::test]
async fn a_throttled_post_is_retried_and_a_denied_one_names_the_permission() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let ids = world.room_of(3).await;
    world.gateway.set_reply(&ids[0], PostReply::Throttled(2));
    world.gateway.set_reply(&ids[1], PostReply::Throttled(1_000));
    assert_eq!(
        world.broadcast().await.unwrap(),
        DeliveryOutcome::Delivered(Some(2)),
        "two of three, the third stayed throttled"
    );
    assert_eq!(world.gateway.take_frames(&ids[0]).len(), 1, "accepted after two 429 responses");
    let single = world.delivery.deliver(&Audience::Connection(ids[1].clone()), frame()).await;
    assert!(matches!(single, Err(DeliveryError::Unavailable(_))), "{single:?}");
    ids.iter().for_each(|id| world.gateway.set_reply(id, PostReply::Denied));
    let Err(DeliveryError::Backend { source, .. }) = world.broadcast().await else {
        panic!("a denied broadcast is a failure")
    };
    assert!(source.to_string().contains("execute-api:ManageConnections"), "{source}");
    assert!(world.store.find_connection(&ids[0]).await.unwrap().is_some(), "a denied post removes no connection");
}

#[tokio::test]
async fn a_post_without_reply_delays_others_by_its_timeout_only() {
    let Some(database) = database().await else { return };
    let limits = DeliveryLimits {
        max_parallel_posts: 4,
        post_timeout: Duration::from_millis(300),
        delivery_timeout: Duration::from_secs(60),
    };
    let world = World::new(&database, limits).await;
    let ids = world.room_of(12).await;
    world.gateway.set_reply(&ids[0], PostReply::NoReply);
    assert_eq!(world.broadcast().await.unwrap(), DeliveryOutcome::Delivered(Some(11)));
    assert!(ids[1..].iter().all(|id| world.gateway.take_frames(id).len() == 1));
    let single = world.delivery.deliver(&Audience::Connection(ids[0].clone()), frame()).await;
    assert!(matches!(single, Err(DeliveryError::Unavailable(_))), "{single:?}");
}

#[tokio::test]
async fn posts_run_in_parallel_up_to_the_limit() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits { max_parallel_posts: 4, ..DeliveryLimits::FOR_LAMBDA }).await;
    world.room_of(10).await;
    world.gateway.accept_posts(false);
    let (outcome, ()) = tokio::join!(world.broadcast(), async {
        world.gateway.wait_in_flight(4).await;
        world.gateway.accept_posts(true);
    });
    assert_eq!(outcome.unwrap(), DeliveryOutcome::Delivered(Some(10)));
    assert_eq!(world.gateway.post_counts(), (10, 4), "ten posts, four in parallel");
}

/// A process that dies during `$disconnect` can leave a membership without a record; the next broadcast to the channel
/// deletes it.
#[tokio::test]
async fn a_broadcast_deletes_a_membership_without_a_record() {
    let Some(database) = database().await else { return };
    let world = World::new(&database, DeliveryLimits::FOR_LAMBDA).await;
    let ids = world.room_of(2).await;
    world.gateway.set_reply(&ids[0], PostReply::Gone);
    let delete = world.dynamo.delete_item().table_name(&world.table);
    let delete = delete.key("pk", AttributeValue::S(format!("c#{}", ids[0])));
    delete.key("sk", AttributeValue::S("record".to_owned())).send().await.unwrap();
    assert_eq!(world.store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap().total, 2);
    assert_eq!(world.broadcast().await.unwrap(), DeliveryOutcome::Delivered(Some(1)));
    assert_eq!(world.store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap().total, 1);
}
