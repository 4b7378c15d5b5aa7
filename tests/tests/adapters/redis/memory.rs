//! Redis memory per connection and per message: the numbers in `docs/OPERATIONS.md`.

use std::sync::Arc;

use handlers::channel::Channel;
use handlers::id::{ConnectionId, MessageId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::ports::{
    AppendRequest, ClientConnection, Clock as _, ConnectionStore as _, MessageLog as _, MessageSender,
};
use serde_json::value::RawValue;
use shim::redis::{RedisConnections, RedisLog, RedisRetention};
use tests::redis::RedisServer;

use super::{clock, connect, settings};

const CONNECTIONS: u64 = 3_000;
const MESSAGES: u64 = 10_000;
/// Channels that the messages are distributed over.
const CHANNELS: u64 = 100;
/// Documented maximum in bytes.
const PER_CONNECTION: u64 = 900;
const PER_MEMBERSHIP: u64 = 350;
const PER_MESSAGE: u64 = 210;

/// Returns the bytes that Redis has allocated for data and its structures.
fn used_memory(server: &RedisServer) -> u64 {
    let statistics = server.run_command(&["INFO", "memory"]).unwrap();
    let line = statistics.lines().find_map(|line| line.trim().strip_prefix("used_memory_dataset:")).unwrap();
    line.parse().unwrap()
}

fn connection(number: u64, rooms: &[Channel]) -> ClientConnection {
    ClientConnection {
        id: ConnectionId::parse(&format!("{number:0>15}=")).unwrap(),
        identity: Identity {
            tenant: TenantId::parse("acme").unwrap(),
            user: UserId::parse(&format!("user-{number}")).unwrap(),
            role: Role::User,
            expires_at: None,
        },
        connected_at: clock().now(),
        channels: rooms.iter().cloned().collect(),
    }
}

#[tokio::test]
async fn connections_need_no_more_memory_than_documented() {
    let server = RedisServer::start().unwrap();
    let store = RedisConnections::new(connect(&settings(&server.url())).await, clock());
    let rooms: Vec<_> = (0..20).map(|room| Channel::from_key(&format!("acme/room:{room}")).unwrap()).collect();
    let empty = used_memory(&server);
    for number in 0..CONNECTIONS {
        store.put_connection(&connection(number, &[])).await.unwrap();
    }
    let connected = used_memory(&server);
    for number in 0..CONNECTIONS {
        let room = &rooms[number as usize % rooms.len()];
        store.change_channels(&connection(number, &[]).id, std::slice::from_ref(room), &[]).await.unwrap();
    }
    let each = (connected - empty) / CONNECTIONS;
    let membership = (used_memory(&server) - connected) / CONNECTIONS;
    println!("{each} bytes per connection, {membership} per membership");
    assert!(each <= PER_CONNECTION && membership <= PER_MEMBERSHIP, "{each} and {membership} bytes");
}

#[tokio::test]
async fn messages_need_no_more_memory_than_documented() {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let retention = RedisRetention { max_messages: 10_000, max_age: std::time::Duration::from_secs(86_400) };
    let log = RedisLog::open_log(redis, clock(), retention).await.unwrap();
    let body: Arc<RawValue> = RawValue::from_string(format!("{:?}", "x".repeat(98))).unwrap().into();
    let empty = used_memory(&server);
    for number in 0..MESSAGES {
        let user = UserId::parse(&format!("user-{}", number % CHANNELS)).unwrap();
        let append = AppendRequest {
            channel: Channel::from_key(&format!("acme/conversation:{user}")).unwrap(),
            sender: MessageSender { user, role: Role::User },
            id: MessageId::parse(&format!("0192f0c1-7b9e-7cc3-98c4-{number:0>12}")).unwrap(),
            sent_at: clock().now(),
            body: body.clone(),
        };
        log.append(append).await.unwrap();
    }
    let each = (used_memory(&server) - empty) / MESSAGES - body.get().len() as u64;
    println!("{each} bytes per message in addition to its body");
    assert!(each <= PER_MESSAGE, "{each} bytes");
}
