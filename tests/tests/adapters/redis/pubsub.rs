//! Publish and subscribe.

use bytes::Bytes;
use shim::redis::{RedisClient, RedisPush, RedisSettings, RedisSubscriber, RedisTopology, SubscriptionRevocation};
use tests::eventually::with_timeout;
use tests::redis::{ClusterFailover, RedisCluster, RedisSentinels, RedisServer};

use super::contracts::{cluster_settings, sentinel_settings};
use super::{connect, settings};

fn messages(redis: &RedisClient, channels: &[&str], count: usize) -> Vec<(String, Bytes)> {
    let message =
        |number: usize| (redis.prefixed_key(channels[number % channels.len()]), Bytes::from(number.to_string()));
    (0..count).map(message).collect()
}

/// Checks that all messages of subscribed channels arrive and no others; on a single server in order per channel.
async fn check_delivery(settings: &RedisSettings) {
    let redis = connect(settings).await;
    let publisher = connect(settings).await;
    let mut subscriber = redis.open_subscriber().await.unwrap();
    let subscribed = ["node/1", "node/2", "room/{lobby}"];
    let channels: Vec<String> = subscribed.iter().map(|channel| redis.prefixed_key(channel)).collect();
    subscriber.subscribe(&channels).await.unwrap();
    publisher.publish_all(messages(&publisher, &subscribed, 3)).await.unwrap();
    redis.publish_all(messages(&redis, &["node/3"], 1)).await.unwrap();
    let published = messages(&redis, &subscribed, 600);
    redis.publish_all(published.clone()).await.unwrap();
    let mut received = Vec::new();
    while received.len() < published.len() {
        received.push(with_timeout("a message", subscriber.next()).await.expect("the connection is open"));
    }
    for channel in &channels {
        let of_channel = |pushed: &&RedisPush| pushed.redis_channel == channel.as_bytes();
        let mut found: Vec<&Bytes> = received.iter().filter(of_channel).map(|pushed| &pushed.payload).collect();
        let mut expected: Vec<&Bytes> =
            published.iter().filter(|(to, _)| to == channel).map(|(_, payload)| payload).collect();
        if settings.topology == RedisTopology::Cluster {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected, "the messages of {channel}");
    }
    subscriber.unsubscribe(&channels[..1]).await.unwrap();
    redis.publish_all(messages(&redis, &subscribed[..2], 2)).await.unwrap();
    let left = with_timeout("the other channel's message", subscriber.next()).await.expect("the connection is open");
    assert_eq!(left.redis_channel, channels[1].as_bytes(), "a message of an unsubscribed channel arrived");
}

#[tokio::test]
async fn a_server_delivers_published_messages() {
    let server = RedisServer::start().unwrap();
    check_delivery(&settings(&server.url())).await;
}

#[tokio::test]
async fn a_cluster_delivers_published_messages() {
    let cluster = RedisCluster::start().unwrap();
    check_delivery(&cluster_settings(&cluster)).await;
}

#[tokio::test]
async fn both_halves_of_a_subscriber_work_concurrently() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let (channels, mut pushes) = redis.open_subscriber().await.unwrap().split();
    let key = redis.prefixed_key("late");
    let (received, ()) = tokio::join!(with_timeout("a message", pushes.next()), async {
        channels.subscribe(std::slice::from_ref(&key)).await.unwrap();
        redis.publish_all(vec![(key.clone(), Bytes::from_static(b"\0\xff"))]).await.unwrap();
    });
    assert_eq!(received.map(|pushed| pushed.payload), Some(Bytes::from_static(b"\0\xff")), "the payload is unchanged");
}

#[tokio::test]
async fn a_lost_connection_ends_the_stream() {
    let mut server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let mut subscriber: RedisSubscriber = redis.open_subscriber().await.unwrap();
    subscriber.subscribe(&[redis.prefixed_key("topic")]).await.unwrap();
    server.kill();
    assert_eq!(with_timeout("the end", subscriber.next()).await, None, "the stream ends with the connection");
    assert!(subscriber.subscribe(&[redis.prefixed_key("other")]).await.is_err(), "subscribing fails as well");
}

#[tokio::test]
async fn a_slow_consumer_is_disconnected() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let mut subscriber = redis.open_subscriber().await.unwrap();
    subscriber.subscribe(&[redis.prefixed_key("flood")]).await.unwrap();
    for _ in 0..20 {
        redis.publish_all(messages(&redis, &["flood"], 1_000)).await.unwrap();
    }
    let mut received = 0;
    while with_timeout("the end", subscriber.next()).await.is_some() {
        received += 1;
    }
    assert!((1_000..20_000).contains(&received), "{received} of 20,000 arrived");
}

/// Subscribes to the Redis channel `lobby`, runs `event`, checks that the subscription is reported as revoked, and that
/// a new one receives.
async fn check_revocation(redis: &RedisClient, expected: SubscriptionRevocation, event: impl FnOnce()) {
    let lobby = redis.prefixed_key("{lobby}");
    let (subscriptions, _pushes) = redis.open_subscriber().await.unwrap().split();
    subscriptions.subscribe(std::slice::from_ref(&lobby)).await.unwrap();
    tokio::task::block_in_place(event);
    assert_eq!(with_timeout("the revocation", subscriptions.wait_revoked()).await, expected);
    let mut replacement = redis.open_subscriber().await.unwrap();
    tests::eventually!("the new subscription", replacement.subscribe(std::slice::from_ref(&lobby)).await.ok());
    let published = redis.publish_all(vec![(lobby, Bytes::from_static(b"after"))]);
    with_timeout("the message to be published", published).await.unwrap();
    let received = with_timeout("a message on the new subscription", replacement.next()).await;
    assert_eq!(received.map(|push| push.payload), Some(Bytes::from_static(b"after")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_whose_slot_moved_is_reported() {
    let mut cluster = RedisCluster::start().unwrap();
    let added = cluster.add_node().unwrap();
    let redis = connect(&cluster_settings(&cluster)).await;
    let lobby = redis.prefixed_key("{lobby}");
    // To a new master, and on to another one.
    let home = cluster.master_of(&lobby).unwrap();
    for target in [added, home, (home + 1) % 3] {
        let moving = || cluster.move_slot_of(&lobby, target).unwrap();
        check_revocation(&redis, SubscriptionRevocation::SlotMoved, moving).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_to_a_demoted_master_of_a_cluster_is_reported() {
    let cluster = RedisCluster::start_with_replicas().unwrap();
    let redis = connect(&cluster_settings(&cluster)).await;
    let home = cluster.master_of(&redis.prefixed_key("{lobby}")).unwrap();
    // To the replica, and back to the former master.
    for (node, failover) in [(home + 3, ClusterFailover::Coordinated), (home, ClusterFailover::Takeover)] {
        let promoting = || {
            cluster.wait_replicas().unwrap();
            cluster.promote(node, failover).unwrap();
        };
        check_revocation(&redis, SubscriptionRevocation::SlotMoved, promoting).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_to_a_master_that_sentinels_replaced_is_reported() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let redis = connect(&sentinel_settings(&sentinels)).await;
    let failing_over = || sentinels.begin_planned_failover().unwrap();
    check_revocation(&redis, SubscriptionRevocation::MasterChanged, failing_over).await;
}

#[tokio::test]
async fn a_subscription_that_is_ended_on_request_is_not_revoked() {
    let cluster = RedisCluster::start().unwrap();
    let redis = connect(&cluster_settings(&cluster)).await;
    let channels = ["a", "b", "c"].map(|name| redis.prefixed_key(name));
    let (subscriptions, mut pushes) = redis.open_subscriber().await.unwrap().split();
    subscriptions.subscribe(&channels).await.unwrap();
    subscriptions.unsubscribe(&channels[..2]).await.unwrap();
    tokio::select! {
        biased;
        revocation = subscriptions.wait_revoked() => panic!("{revocation:?}"),
        received = async {
            redis.publish_all(vec![(channels[2].clone(), Bytes::from_static(b"still"))]).await.unwrap();
            with_timeout("a message", pushes.next()).await
        } => assert!(received.is_some()),
    }
}
