//! Migrations from every store to every other one through the command line: messages are unchanged, and appends
//! continue.

use std::sync::Arc;

use handlers::archive::{ExportLimits, LogSegment};
use handlers::channel::{Channel, Epoch, Offset};
use handlers::conformance::archive::ArchiveStore as _;
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendRequest, LogEntry, LogRange, LogSlice, MessageSender, Timestamp};
use serde_json::value::RawValue;
use tests::dynamodb::DynamoDb;
use tests::postgres::PostgresServer;

use super::command::{CommandOutput, migrate};
use super::worlds::{DynamoStore, FileStore, PostgresStore, RedisStore, World};

pub(crate) fn channel(key: &str) -> Channel {
    Channel::from_key(key).unwrap()
}

pub(crate) fn message(to: &str, number: u64) -> AppendRequest {
    let body =
        format!("{{ \"n\": {number}.0e0,\"text\":\"caf\\u00e9 \u{1f600} {}\" }}", "x".repeat(number as usize * 7));
    AppendRequest {
        channel: channel(to),
        sender: MessageSender {
            user: UserId::parse(&format!("user{}|x@example.com", number % 3)).unwrap(),
            role: [Role::User, Role::Admin, Role::Service][number as usize % 3],
        },
        id: MessageId::parse(&format!("m{{{number}}}")).unwrap(),
        sent_at: Timestamp(1_795_000_000_000 + number as i64 * 17),
        body: Arc::from(RawValue::from_string(body).unwrap()),
    }
}

/// Writes three channels: one with messages, one without its oldest messages, and one whose messages have all expired.
pub(crate) async fn write_channels(store: &dyn World) {
    let log = store.open_log().await;
    for number in 1..=40 {
        log.append(message("acme/room:lobby", number)).await.unwrap();
    }
    drop(log);
    let archive = store.open_archive().await;
    for (key, from, count) in [("other/conversation:bob", 5, 7), ("other/topic:quiet", 9, 0)] {
        let entry = |number| {
            let AppendRequest { sender, id, sent_at, body, .. } = message(key, number);
            LogEntry { offset: Offset(number), sender, id, sent_at, body }
        };
        let (epoch, entries) =
            (Epoch(format!("epoch of {key}").into()), (from + 1..=from + count).map(entry).collect());
        archive.import(&LogSegment { channel: channel(key), epoch, after: Offset(from), entries }).await.unwrap();
    }
}

/// Returns all channels and messages of a store.
pub(crate) async fn read_store(store: &dyn World) -> Vec<(Channel, LogSlice)> {
    let archive = store.open_archive().await;
    let mut found = Vec::new();
    for channel in archive.logged_channels().await.unwrap() {
        let slice = archive
            .export(&channel, Offset::START, ExportLimits { max_entries: 1_000, max_bytes: 1 << 24 })
            .await
            .unwrap();
        found.push((channel, slice));
    }
    found
}

pub(crate) fn assert_same(here: &[(Channel, LogSlice)], there: &[(Channel, LogSlice)], label: &str) {
    let shown = |contents: &[(Channel, LogSlice)]| {
        let entry = |entry: &LogEntry| {
            format!("{} {:?} {} {} {}", entry.offset, entry.sender, entry.id, entry.sent_at, entry.body.get())
        };
        let log = |(channel, slice): &(Channel, LogSlice)| {
            let entries: Vec<String> = slice.entries.iter().map(entry).collect();
            (channel.to_string(), slice.head.clone(), slice.first, entries)
        };
        contents.iter().map(log).collect::<Vec<_>>()
    };
    assert_eq!(shown(here), shown(there), "{label}");
}

async fn migrate_and_continue(from: &dyn World, to: &dyn World) {
    let label = format!("{} to {}", from.endpoint(), to.endpoint());
    let output = migrate(from, to, &[]).await;
    assert_eq!(output.code, Some(0), "{label}: {output:?}");
    assert!(output.stdout.contains("verified 47 messages of 3 channels: equal"), "{label}: {output:?}");
    assert_same(&read_store(from).await, &read_store(to).await, &label);
    let again = migrate(from, to, &[]).await;
    assert!(again.code == Some(0) && again.stdout.contains("copied 0 messages of 3 channels"), "{label}: {again:?}");

    // Appends in the new store continue from the state in the old one.
    let (old, new) = (from.open_log().await, to.open_log().await);
    let lobby = channel("acme/room:lobby");
    let head = old.heads(std::slice::from_ref(&lobby)).await.unwrap().remove(0);
    let repeated = new.append(message("acme/room:lobby", 7)).await.unwrap();
    assert_eq!(
        (repeated.position.offset, repeated.duplicate),
        (Offset(7), true),
        "{label}: ids are known in the new store"
    );
    let next = new.append(message("acme/room:lobby", 41)).await.unwrap().position;
    assert_eq!((next.offset, next.epoch), (head.offset.next(), head.epoch), "{label}: offsets and epoch continue");
    let slice = new.read(&lobby, LogRange::After(Offset(38)), 10, 1 << 20).await.unwrap();
    assert_eq!(slice.entries.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(), [39, 40, 41], "{label}");
}

#[tokio::test]
async fn every_store_migrates_to_every_other() {
    let server = Arc::new(PostgresServer::start().unwrap());
    let emulator = DynamoDb::start().await.map(Arc::new);
    let kinds = if emulator.is_some() { 5 } else { 4 };
    let fresh = async |kind: usize| match (kind, &emulator) {
        (0, _) => Box::new(FileStore::new()) as Box<dyn World>,
        (1, _) => Box::new(RedisStore::new(true)),
        (2, _) => Box::new(RedisStore::new(false)),
        (3, _) => Box::new(PostgresStore::new(&server)),
        (_, Some(emulator)) => Box::new(DynamoStore::new(emulator).await),
        (_, None) => unreachable!("this kind exists with an emulator only"),
    };
    for from in 0..kinds {
        let source = fresh(from).await;
        write_channels(&*source).await;
        for to in (0..kinds).filter(|to| *to != from) {
            migrate_and_continue(&*source, &*fresh(to).await).await;
        }
    }
}

#[tokio::test]
async fn a_repeated_copy_adds_new_messages_and_damage_is_detected() {
    let server = Arc::new(PostgresServer::start().unwrap());
    let (source, target) = (FileStore::new(), PostgresStore::new(&server));
    write_channels(&source).await;
    let planned = migrate(&source, &target, &["--dry-run"]).await;
    assert!(planned.code == Some(0) && planned.stdout.contains("3 channels, 47 messages to copy"), "{planned:?}");
    assert!(read_store(&target).await.is_empty(), "a dry run writes nothing");
    let some = migrate(&source, &target, &["--channels", "other/*"]).await;
    assert!(some.code == Some(0) && some.stdout.contains("copied 7 messages of 2 channels"), "{some:?}");
    let missing = migrate(&source, &target, &["--verify-only"]).await;
    assert!(missing.code == Some(1) && missing.stdout.contains("acme/room:lobby differs"), "{missing:?}");
    assert_eq!(migrate(&source, &target, &[]).await.code, Some(0));

    source.open_log().await.append(message("acme/room:lobby", 41)).await.unwrap();
    let caught_up = migrate(&source, &target, &[]).await;
    assert!(caught_up.stdout.contains("copied 1 messages of 3 channels"), "{caught_up:?}");

    let damage = [
        (
            "UPDATE {}.messages SET body = replace(body, 'caf', 'cat') WHERE log_offset = 17",
            "the bodies differ at offset 17",
        ),
        ("UPDATE {}.messages SET sent_at = sent_at + 1 WHERE log_offset = 16", "the timestamps differ at offset 16"),
        ("UPDATE {}.messages SET sender = 'mallory' WHERE log_offset = 15", "the senders differ at offset 15"),
        ("DELETE FROM {}.messages WHERE log_offset = 14", "the offsets differ at offset 14"),
        ("UPDATE {}.channels SET head = head - 1 WHERE id = 3", "the target's is 40"),
    ];
    for (sql, expected) in damage {
        server.query(&sql.replace("{}", &target.schema)).unwrap();
        let found = migrate(&source, &target, &["--verify-only"]).await;
        assert!(found.code == Some(1) && found.stdout.contains(expected), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_target_with_other_messages_is_unchanged() {
    let (source, target) = (FileStore::new(), RedisStore::new(true));
    write_channels(&source).await;
    let existing = target.open_log().await.append(message("acme/room:lobby", 1)).await.unwrap();
    let output: CommandOutput = migrate(&source, &target, &[]).await;
    assert!(output.code == Some(1) && output.stdout.contains("acme/room:lobby was not copied"), "{output:?}");
    assert!(output.stdout.contains("verified 7 messages of 2 channels"), "the others were: {output:?}");
    let head = target.open_log().await.heads(&[channel("acme/room:lobby")]).await.unwrap().remove(0);
    assert_eq!(head, existing.position, "nothing was written to the target");
}
