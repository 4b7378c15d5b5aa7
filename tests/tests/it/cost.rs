//! How much running pods ask of Redis: the tables in `docs/OPERATIONS.md`, counted by the server.
//!
//! What pods ask by themselves (heartbeats, looks at the ends of logs, the monitor) is bounded by time and subtracted as
//! such; what is left is per message and per connection.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::client::Client;
use tests::pod_cluster::{durable_redis, launch_pod};
use tests::redis::RedisServer;
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};
use tokio::time::Instant;

const MESSAGES: u64 = 200;
const CONNECTIONS: u64 = 100;
/// The most bytes that a pod writes down for a connection, as documented.
const WRITTEN_DOWN: u64 = 500;
/// Most commands of one kind that two pods send in a second while nothing happens.
const IDLE: u64 = 6;

/// What the client library says of itself on each new connection to Redis; servers before 7.2 do not know it, and do not count it.
/// How many connections are made is counted all the same, by `hello`.
const SAID_WHEN_CONNECTING: &str = "client|setinfo";

/// Commands that were executed since, inside and outside of scripts.
struct Meter {
    calls: BTreeMap<String, u64>,
    seconds: u64,
}

impl Meter {
    fn start(redis: &RedisServer) -> Instant {
        redis.run_command(&["CONFIG", "RESETSTAT"]).unwrap();
        Instant::now()
    }

    fn stop(redis: &RedisServer, begun: Instant) -> Self {
        let seconds = begun.elapsed().as_secs() + 2;
        let told = redis.run_command(&["INFO", "commandstats"]).unwrap();
        let line = |line: &str| {
            let (name, numbers) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = numbers.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
            Some((name.to_owned(), calls))
        };
        let calls = told.lines().filter_map(line).filter(|(name, _)| name != SAID_WHEN_CONNECTING);
        Self { calls: calls.collect(), seconds }
    }

    /// Fails unless each kind was called so often for each of `count` things, some less often because several go together,
    /// and none that is not named.
    fn assert_per(&self, what: &str, count: u64, each: &[(&str, u64)], at_most: &[(&str, u64)]) {
        let idle = IDLE * self.seconds;
        let allowed: BTreeMap<_, _> = each.iter().chain(at_most).copied().collect();
        for (name, calls) in &self.calls {
            let most = allowed.get(name.as_str()).copied().unwrap_or_default() * count + idle;
            assert!(*calls <= most, "{what}: {calls} times {name} for {count}, at most {most}: {:?}", self.calls);
        }
        for (name, each) in each {
            let calls = self.calls.get(*name).copied().unwrap_or_default();
            assert!(
                calls + 1 >= each * count / 2,
                "{what}: hardly any {name}, the table says too much: {:?}",
                self.calls
            );
        }
    }
}

/// What the larger of the pods' lists takes.
fn bytes_written_down(redis: &RedisServer) -> u64 {
    let keys = redis.run_command(&["KEYS", "twinway:{cluster}:sessions:*"]).unwrap();
    let usage = |key| redis.run_command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).unwrap().parse::<u64>().unwrap();
    keys.lines().map(usage).max().unwrap_or_default()
}

/// Waits until a user's last connection has ended.
async fn hears_of_leaving(admin: &mut Client) {
    let went = |frame: &Value| frame["type"] == "presence" && frame["state"] == "offline";
    admin.next_where("somebody's leaving", went).await;
}

fn dial(server: &TwinwayServer, grant: &TokenClaims) -> tests::client::ClientHandshake {
    Client::dial(&server.socket_url(), &grant.user).with_token(&sign_token(SECRET, grant))
}

#[tokio::test]
async fn a_message_and_a_connection_ask_as_much_as_documented() {
    let redis = durable_redis().unwrap();
    let (first, second) = (launch_pod(&redis.url()).start().await, launch_pod(&redis.url()).start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    let mut admin = dial(&second, &TokenClaims::admin("admin")).open_and_confirm().await;
    alice.send_to_channel("conversation:alice", "first").await;
    admin.bodies("conversation:alice", 1).await;
    // Scripts are sent whole once.
    dial(&first, &TokenClaims::user("bob")).open_and_confirm().await.close().await;
    hears_of_leaving(&mut admin).await;

    let begun = Meter::start(&redis);
    for number in 0..MESSAGES {
        alice.send_to_channel("conversation:alice", number).await;
    }
    admin.bodies("conversation:alice", MESSAGES as usize).await;
    let message = [("evalsha", 1), ("xadd", 1), ("hset", 3), ("hmget", 1), ("hget", 1), ("pexpire", 3)];
    Meter::stop(&redis, begun).assert_per("a message", MESSAGES, &message, &[("publish", 2)]);

    let begun = Meter::start(&redis);
    let mut people = Vec::new();
    for number in 0..CONNECTIONS {
        people.push(dial(&first, &TokenClaims::user(&format!("p{number}"))).open_and_confirm().await);
    }
    let connect = [
        // Written down by the pod, and recorded by the application.
        ("evalsha", 1),
        ("zscore", 1),
        ("hset", 1),
        ("set", 1),
        ("zadd", 3),
        ("pexpire", 3),
        // Is it the user's first one? Its topic is listened to.
        ("zrangebylex", 2),
        ("zlexcount", 1),
        ("get", 1),
        ("subscribe", 1),
    ];
    Meter::stop(&redis, begun).assert_per("a connect", CONNECTIONS, &connect, &[("publish", 1)]);

    let written = bytes_written_down(&redis) / (CONNECTIONS + 1);
    println!("a pod writes {written} bytes down for a connection");
    assert!(written <= WRITTEN_DOWN, "{written} bytes");

    let begun = Meter::start(&redis);
    for person in people {
        person.close().await;
    }
    for _ in 0..CONNECTIONS {
        hears_of_leaving(&mut admin).await;
    }
    let disconnect = [
        ("evalsha", 1),
        ("get", 1),
        ("del", 1),
        ("set", 1),
        ("zrem", 3),
        // Was it the user's last one?
        ("zrangebylex", 2),
        ("zlexcount", 1),
    ];
    Meter::stop(&redis, begun).assert_per("a disconnect", CONNECTIONS, &disconnect, &[("hdel", 1), ("publish", 1)]);
    alice.close().await;
    admin.close().await;
}
