//! Number of Redis commands of running pods, by the server's own counters. A changed number must be changed in the
//! tables of `docs/OPERATIONS.md` as well.
//!
//! Background commands (heartbeats, head checks, health checks) are bounded by time and subtracted; the rest is
//! counted per message and per connection.

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
/// Documented maximum of bytes that a pod registers for a connection.
const MAX_REGISTERED_BYTES: u64 = 500;
/// Maximum number of background commands of one kind that two pods send per second.
const MAX_BACKGROUND_COMMANDS: u64 = 6;

/// Command that the client library sends on each new connection to Redis. Servers before 7.2 do not support it and do
/// not count it; new connections are counted by `hello`.
const CLIENT_INFO_COMMAND: &str = "client|setinfo";

/// Commands executed since the start, inside and outside of scripts.
struct CommandMeter {
    calls: BTreeMap<String, u64>,
    seconds: u64,
}

impl CommandMeter {
    fn start(redis: &RedisServer) -> Instant {
        redis.run_command(&["CONFIG", "RESETSTAT"]).unwrap();
        Instant::now()
    }

    fn stop(redis: &RedisServer, started: Instant) -> Self {
        let seconds = started.elapsed().as_secs() + 2;
        let statistics = redis.run_command(&["INFO", "commandstats"]).unwrap();
        let line = |line: &str| {
            let (name, numbers) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = numbers.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
            Some((name.to_owned(), calls))
        };
        let calls = statistics.lines().filter_map(line).filter(|(name, _)| name != CLIENT_INFO_COMMAND);
        Self { calls: calls.collect(), seconds }
    }

    /// Asserts that each kind of command was called `each` times per item (batching may save some), and no other
    /// command.
    fn assert_per(&self, what: &str, count: u64, each: &[(&str, u64)], at_most: &[(&str, u64)]) {
        let idle = MAX_BACKGROUND_COMMANDS * self.seconds;
        let allowed: BTreeMap<_, _> = each.iter().chain(at_most).copied().collect();
        for (name, calls) in &self.calls {
            let most = allowed.get(name.as_str()).copied().unwrap_or_default() * count + idle;
            assert!(*calls <= most, "{what}: {name} called {calls} times for {count}, limit {most}: {:?}", self.calls);
        }
        for (name, each) in each {
            let calls = self.calls.get(*name).copied().unwrap_or_default();
            assert!(
                calls + 1 >= each * count / 2,
                "{what}: too few {name}, the documented number is too high: {:?}",
                self.calls
            );
        }
    }
}

/// Returns the memory usage of the larger registration hash.
fn registered_bytes(redis: &RedisServer) -> u64 {
    let keys = redis.run_command(&["KEYS", "twinway:{cluster}:connections:*"]).unwrap();
    let usage = |key| redis.run_command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).unwrap().parse::<u64>().unwrap();
    keys.lines().map(usage).max().unwrap_or_default()
}

/// Waits for the `offline` presence of a user.
async fn wait_for_offline(admin: &mut Client) {
    let is_offline = |frame: &Value| frame["type"] == "presence" && frame["state"] == "offline";
    admin.next_where("an offline presence", is_offline).await;
}

fn dial(server: &TwinwayServer, grant: &TokenClaims) -> tests::client::ClientHandshake {
    Client::dial(&server.socket_url(), &grant.user).with_token(&sign_token(SECRET, grant))
}

#[tokio::test]
async fn a_message_and_a_connection_send_the_documented_commands() {
    let redis = durable_redis().unwrap();
    let (first, second) = (launch_pod(&redis.url()).start().await, launch_pod(&redis.url()).start().await);
    let mut alice = dial(&first, &TokenClaims::user("alice")).open_and_confirm().await;
    let mut admin = dial(&second, &TokenClaims::admin("admin")).open_and_confirm().await;
    alice.send_to_channel("conversation:alice", "first").await;
    admin.bodies("conversation:alice", 1).await;
    // A script is sent completely only once.
    dial(&first, &TokenClaims::user("bob")).open_and_confirm().await.close().await;
    wait_for_offline(&mut admin).await;

    let started = CommandMeter::start(&redis);
    for number in 0..MESSAGES {
        alice.send_to_channel("conversation:alice", number).await;
    }
    admin.bodies("conversation:alice", MESSAGES as usize).await;
    let message = [("evalsha", 1), ("xadd", 1), ("hset", 3), ("hmget", 1), ("hget", 1), ("pexpire", 3)];
    CommandMeter::stop(&redis, started).assert_per("a message", MESSAGES, &message, &[("publish", 2)]);

    let started = CommandMeter::start(&redis);
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        clients.push(dial(&first, &TokenClaims::user(&format!("p{number}"))).open_and_confirm().await);
    }
    let connect = [
        // Registered by the pod, and recorded by the application.
        ("evalsha", 1),
        ("zscore", 1),
        ("hset", 1),
        ("set", 1),
        ("zadd", 3),
        ("pexpire", 3),
        // First connection of the user: subscribe to the user's channel.
        ("zrangebylex", 2),
        ("zlexcount", 1),
        // The presence check, and the user's revocation.
        ("get", 2),
        ("subscribe", 1),
    ];
    CommandMeter::stop(&redis, started).assert_per("a connect", CONNECTIONS, &connect, &[("publish", 1)]);

    let written = registered_bytes(&redis) / (CONNECTIONS + 1);
    println!("a pod registers {written} bytes per connection");
    assert!(written <= MAX_REGISTERED_BYTES, "{written} bytes");

    let started = CommandMeter::start(&redis);
    for client in clients {
        client.close().await;
    }
    for _ in 0..CONNECTIONS {
        wait_for_offline(&mut admin).await;
    }
    let disconnect = [
        ("evalsha", 1),
        ("get", 1),
        ("del", 1),
        ("set", 1),
        ("zrem", 3),
        // Last connection of the user.
        ("zrangebylex", 2),
        ("zlexcount", 1),
    ];
    CommandMeter::stop(&redis, started).assert_per(
        "a disconnect",
        CONNECTIONS,
        &disconnect,
        &[("hdel", 1), ("publish", 1)],
    );
    alice.close().await;
    admin.close().await;
}
