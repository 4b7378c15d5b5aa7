//! Publishing and subscribing.

use bytes::Bytes;
use shim::redis::{RedisClient, RedisPush, RedisSettings, RedisSubscriber, RedisTopology};
use tests::eventually::with_timeout;
use tests::redis::{RedisCluster, RedisServer};

use super::contracts::cluster_settings;
use super::{connect, settings};

fn messages(redis: &RedisClient, topics: &[&str], count: usize) -> Vec<(String, Bytes)> {
    let message = |number: usize| (redis.prefixed_key(topics[number % topics.len()]), Bytes::from(number.to_string()));
    (0..count).map(message).collect()
}

/// Everything that was published to subscribed topics arrives, and nothing else; from a server in order within a topic.
async fn published_is_heard(settings: &RedisSettings) {
    let redis = connect(settings).await;
    let stranger = connect(settings).await;
    let mut subscriber = redis.open_subscriber().await.unwrap();
    let heard = ["node/1", "node/2", "room/{lobby}"];
    let topics: Vec<String> = heard.iter().map(|topic| redis.prefixed_key(topic)).collect();
    subscriber.subscribe(&topics).await.unwrap();
    stranger.publish_all(messages(&stranger, &heard, 3)).await.unwrap();
    redis.publish_all(messages(&redis, &["node/3"], 1)).await.unwrap();
    let published = messages(&redis, &heard, 600);
    redis.publish_all(published.clone()).await.unwrap();
    let mut received = Vec::new();
    while received.len() < published.len() {
        received.push(with_timeout("a message", subscriber.next()).await.expect("the connection is there"));
    }
    for topic in &topics {
        let of_topic = |pushed: &&RedisPush| pushed.redis_channel == topic.as_bytes();
        let mut found: Vec<&Bytes> = received.iter().filter(of_topic).map(|pushed| &pushed.payload).collect();
        let mut expected: Vec<&Bytes> =
            published.iter().filter(|(to, _)| to == topic).map(|(_, payload)| payload).collect();
        if settings.topology == RedisTopology::Cluster {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected, "the messages of {topic}");
    }
    subscriber.unsubscribe(&topics[..1]).await.unwrap();
    redis.publish_all(messages(&redis, &heard[..2], 2)).await.unwrap();
    let left = with_timeout("the other topic's message", subscriber.next()).await.expect("the connection is there");
    assert_eq!(left.redis_channel, topics[1].as_bytes(), "an unsubscribed topic is not heard");
}

#[tokio::test]
async fn a_server_passes_messages_on() {
    let server = RedisServer::start().unwrap();
    published_is_heard(&settings(&server.url())).await;
}

#[tokio::test]
async fn a_cluster_passes_messages_on() {
    let cluster = RedisCluster::start().unwrap();
    published_is_heard(&cluster_settings(&cluster)).await;
}

#[tokio::test]
async fn both_halves_are_used_at_once() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let (topics, mut pushes) = redis.open_subscriber().await.unwrap().split();
    let key = redis.prefixed_key("late");
    let (heard, ()) = tokio::join!(with_timeout("a message", pushes.next()), async {
        topics.subscribe(std::slice::from_ref(&key)).await.unwrap();
        redis.publish_all(vec![(key.clone(), Bytes::from_static(b"\0\xff"))]).await.unwrap();
    });
    assert_eq!(heard.map(|pushed| pushed.payload), Some(Bytes::from_static(b"\0\xff")), "bytes are kept as they are");
}

#[tokio::test]
async fn a_lost_connection_ends_the_stream() {
    let mut server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let mut subscriber: RedisSubscriber = redis.open_subscriber().await.unwrap();
    subscriber.subscribe(&[redis.prefixed_key("topic")]).await.unwrap();
    server.kill();
    assert_eq!(with_timeout("the end", subscriber.next()).await, None, "the stream ends with the connection");
    assert!(subscriber.subscribe(&[redis.prefixed_key("other")]).await.is_err(), "nor is anything subscribed any more");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_by_the_end() {
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
    assert!((1_000..20_000).contains(&received), "{received} of 20,000 were kept");
}
