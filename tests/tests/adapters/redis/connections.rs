//! Properties of the connection store beyond its contract: repairs, and the number of Redis commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use handlers::audience::Audience;
use handlers::channel::Channel;
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::ports::{ClientConnection, Clock as _, ConnectionStore as _};
use redis::cmd;
use shim::redis::{RedisClient, RedisConnections};
use tests::redis::RedisServer;

use super::{clock, connect, settings};

struct World {
    server: RedisServer,
    redis: RedisClient,
    store: RedisConnections,
    alice: ClientConnection,
}

async fn world() -> World {
    let server = RedisServer::start().unwrap();
    let redis = connect(&settings(&server.url())).await;
    let clock = clock();
    let alice = ClientConnection {
        id: ConnectionId::parse("aliceAAAAAAAAAA=").unwrap(),
        identity: Identity {
            tenant: tenant(),
            user: UserId::parse("alice").unwrap(),
            role: Role::User,
            expires_at: None,
        },
        connected_at: clock.now(),
        channels: [lobby()].into(),
    };
    World { store: RedisConnections::new(redis.clone(), Arc::clone(&clock) as _), server, redis, alice }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

#[tokio::test]
async fn a_listing_removes_entries_without_a_record() {
    let World { server: _server, redis, store, alice } = world().await;
    store.put_connection(&alice).await.unwrap();
    let _: u64 =
        redis.query(cmd("DEL").arg(redis.prefixed_key(&format!("connection:{{{}}}", alice.id)))).await.unwrap();
    let page = store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap();
    assert!(page.items.is_empty() && page.total == 0, "{page:?}");
    let key = redis.prefixed_key("index:{joined/acme/room:lobby}");
    let left: Vec<String> = redis.query(cmd("ZRANGE").arg(key).arg(0).arg(-1)).await.unwrap();
    assert!(left.iter().all(|entry| entry.starts_with('e')), "only expiry entries remain: {left:?}");
    assert_eq!(store.occupied_channels(&tenant(), None, 10).await.unwrap().total, 0, "the room is empty");
}

#[tokio::test]
async fn a_listing_removes_entries_that_contradict_the_record() {
    let World { server: _server, redis, store, alice } = world().await;
    store.put_connection(&alice).await.unwrap();
    let attic = redis.prefixed_key("index:{joined/acme/room:attic}");
    let _: u64 = redis.query(cmd("ZADD").arg(&attic).arg(0).arg(format!("c{}", alice.id))).await.unwrap();
    let audience = Audience::Channel(Channel::from_key("acme/room:attic").unwrap());
    let page = store.list_members(&audience, None, 10).await.unwrap();
    assert!(page.items.is_empty() && page.total == 0, "{page:?}");
    let lobby = store.list_members(&Audience::Channel(lobby()), None, 10).await.unwrap();
    assert_eq!(lobby.total, 1, "confirmed entries stay");
}

/// Another program has written keys with the names of indices and of a record. Connects and listings go on, the indices
/// have all connections again, and the foreign values are kept under another name.
#[tokio::test]
async fn keys_of_the_wrong_type_are_renamed_and_indices_rebuilt() {
    let World { server: _server, redis, store, alice } = world().await;
    store.put_connection(&alice).await.unwrap();
    let keys = ["index:{role/acme/user}", "index:{tenant/acme}", "index:{joined/acme/room:lobby}", "occupied:{acme}"];
    let bob = ClientConnection { id: ConnectionId::parse("bobAAAAAAAAAAAA=").unwrap(), ..alice.clone() };
    let record = format!("connection:{{{}}}", bob.id);
    for (key, command) in keys.map(|key| (key, "SET")).into_iter().chain([(&*record, "SADD")]) {
        let key = redis.prefixed_key(key);
        let _: u64 = redis.query(cmd("DEL").arg(&key)).await.unwrap();
        let _: redis::Value = redis.query(cmd(command).arg(&key).arg("foreign")).await.unwrap();
    }
    store.put_connection(&bob).await.unwrap();
    for audience in [Audience::Role(tenant(), Role::User), Audience::Channel(lobby())] {
        let page = store.list_members(&audience, None, 10).await.unwrap();
        assert_eq!((page.total, page.items), (2, vec![alice.clone(), bob.clone()]), "{audience:?}");
    }
    assert_eq!(store.occupied_channels(&tenant(), None, 10).await.unwrap().total, 1);
    for key in keys.into_iter().chain([&*record]) {
        let pattern = format!("{}:quarantine:*", redis.prefixed_key(key));
        let kept: Vec<String> = redis.query(cmd("KEYS").arg(&pattern)).await.unwrap();
        assert_eq!(kept.len(), 1, "{pattern}: {kept:?}");
    }
}

#[tokio::test]
async fn records_expire_after_a_day() {
    let World { server: _server, redis, store, alice } = world().await;
    store.put_connection(&alice).await.unwrap();
    store.change_channels(&alice.id, &[Channel::from_key("acme/room:attic").unwrap()], &[]).await.unwrap();
    let key = redis.prefixed_key(&format!("connection:{{{}}}", alice.id));
    let life: i64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
    assert!((86_300_000..=86_400_000).contains(&life), "the record expires after {life} ms");
    let record: String = redis.query(cmd("GET").arg(&key)).await.unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&record).is_ok(), "{record} is not JSON");
}

/// Checks the numbers that `docs/OPERATIONS.md` documents against the server's own counters.
#[tokio::test]
async fn operations_send_the_documented_commands() {
    let World { server, redis: _linked, store, mut alice } = world().await;
    alice.channels.clear();
    let attic = [Channel::from_key("acme/room:attic").unwrap()];
    // A script is sent completely only once.
    store.put_connection(&alice).await.unwrap();
    store.change_channels(&alice.id, &attic, &[]).await.unwrap();
    store.delete_connection(&alice.id).await.unwrap();

    let command_calls = || calls(&server);
    command_calls();
    store.put_connection(&alice).await.unwrap();
    assert_eq!(command_calls(), counts(&[("set", 1), ("zadd", 3), ("pexpire", 3)]), "connect");
    store.find_connection(&alice.id).await.unwrap();
    assert_eq!(command_calls(), counts(&[("get", 1)]), "find");
    store.change_channels(&alice.id, &attic, &[]).await.unwrap();
    let join = [("evalsha", 1), ("get", 2), ("set", 1), ("zadd", 2), ("pexpire", 2)];
    assert_eq!(command_calls(), counts(&join), "join");
    store.change_channels(&alice.id, &[], &attic).await.unwrap();
    let leave = [("evalsha", 1), ("get", 2), ("set", 1), ("zrem", 2), ("zlexcount", 2)];
    assert_eq!(command_calls(), counts(&leave), "leave, the last member");
    store.delete_connection(&alice.id).await.unwrap();
    let disconnect = [("evalsha", 1), ("get", 1), ("del", 1), ("set", 1), ("zrem", 3)];
    assert_eq!(command_calls(), counts(&disconnect), "disconnect");
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Returns the number of calls per command since the last reset, without those of the harness.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let statistics = server.run_command(&["INFO", "commandstats"]).unwrap();
    server.run_command(&["CONFIG", "RESETSTAT"]).unwrap();
    let line = |line: &str| {
        let (name, numbers) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = numbers.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
        (!["hello", "info", "config|resetstat", "client|setinfo"].contains(&name)).then(|| (name.to_owned(), calls))
    };
    statistics.lines().filter_map(line).collect()
}
