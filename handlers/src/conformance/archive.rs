//! The contract of [`LogArchive`]: an imported log equals its source, also through the port.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::{VALID_NAMES, append_request, channel_from_key};
use crate::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use crate::channel::{Channel, Epoch, Offset};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::ports::{LogEntry, LogRange, MessageLog, MessageSender, Timestamp};

/// A store that can be opened as archive or as port. Each handle is dropped before the other is opened, because some
/// stores can be open only once.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// Opens the archive.
    async fn open_archive(&self) -> Box<dyn LogArchive>;
    /// Opens the port. Messages are retained for at least a day, by the clock of [`now`](Self::now).
    async fn open_log(&self) -> Arc<dyn MessageLog>;
    /// Returns the current time by the clock of the retention.
    fn now(&self) -> Timestamp;
}

/// Runs every case, each on a new store.
pub async fn run_suite<S: ArchiveStore>(fresh: impl AsyncFn() -> S) {
    an_imported_log_equals_its_source(&fresh().await).await;
    an_import_in_parts_is_one_log(&fresh().await).await;
    an_import_that_does_not_follow_is_rejected(&fresh().await).await;
    an_emptied_log_keeps_its_head(&fresh().await).await;
    appended_messages_are_exported(&fresh().await).await;
    channels_are_listed_once_and_in_order(&fresh().await).await;
}

/// Every field, the bounds, the epoch and the deduplication of ids equal the source.
pub async fn an_imported_log_equals_its_source(store: &impl ArchiveStore) {
    let archive = store.open_archive().await;
    let segment = test_segment(store, 4, 6);
    archive.import(&segment).await.expect("import");
    let found = archive
        .export(&lobby_channel(), Offset::START, ExportLimits { max_entries: 100, max_bytes: 1 << 20 })
        .await
        .expect("export");
    assert_eq!(
        (&found.head.epoch, found.head.offset, found.first),
        (&segment.epoch, Offset(10), Offset(5)),
        "the bounds"
    );
    assert_same(&found.entries, &segment.entries);
    let bounds = archive.log_bounds(&lobby_channel()).await.expect("bounds");
    assert_eq!(
        (bounds.head.clone(), bounds.first, bounds.entries.len()),
        (found.head.clone(), Offset(5), 0),
        "the bounds have no entries"
    );
    drop(archive);

    let log = store.open_log().await;
    let slice = log.read(&lobby_channel(), LogRange::Before(None), 100, 1 << 20).await.expect("read");
    assert_eq!((slice.head, slice.first), (found.head.clone(), Offset(5)), "the port returns the same head");
    assert_same(&slice.entries, &segment.entries);
    assert_eq!(log.heads(&[lobby_channel()]).await.expect("heads"), [found.head], "the heads agree");
    let request = repeated_append(&segment.entries[2]);
    let repeated = log.append(request).await.expect("append");
    assert_eq!((repeated.position.offset, repeated.duplicate), (Offset(7), true), "an imported id is remembered");
    assert_eq!(repeated.sent_at, segment.entries[2].sent_at, "the first time is returned");
    let next = log.append(append_request(&lobby_channel(), "alice", "new", "1")).await.expect("append").position;
    assert_eq!((next.offset, next.epoch), (Offset(11), segment.epoch), "a new message continues in the same epoch");
}

/// Overlapping and repeated segments form one log.
pub async fn an_import_in_parts_is_one_log(store: &impl ArchiveStore) {
    let archive = store.open_archive().await;
    for (from, count) in [(0, 3), (0, 3), (1, 5), (6, 2), (8, 0)] {
        let imported = archive.import(&test_segment(store, from, count)).await;
        imported.unwrap_or_else(|error| panic!("{count} after {from}: {error}"));
    }
    let found = archive
        .export(&lobby_channel(), Offset::START, ExportLimits { max_entries: 100, max_bytes: 1 << 20 })
        .await
        .expect("export");
    assert_eq!((found.first, found.head.offset), (Offset(1), Offset(8)), "the bounds");
    assert_same(&found.entries, &test_segment(store, 0, 8).entries);
}

/// A missing range, or another epoch, leaves the log unchanged.
pub async fn an_import_that_does_not_follow_is_rejected(store: &impl ArchiveStore) {
    let archive = store.open_archive().await;
    archive.import(&test_segment(store, 0, 3)).await.expect("import");
    let missing = archive.import(&test_segment(store, 4, 2)).await;
    assert!(matches!(missing, Err(ImportError::MissingRange)), "{missing:?}");
    let beyond = archive.import(&test_segment(store, 9, 0)).await;
    assert!(matches!(beyond, Err(ImportError::MissingRange)), "{beyond:?}");
    let mut other = test_segment(store, 3, 1);
    other.epoch = Epoch("another".into());
    let other = archive.import(&other).await;
    assert!(matches!(other, Err(ImportError::EpochMismatch)), "{other:?}");
    assert_eq!(
        archive.log_bounds(&lobby_channel()).await.expect("bounds").head.offset,
        Offset(3),
        "nothing was written"
    );
}

/// A log whose entries were all trimmed continues after its head.
pub async fn an_emptied_log_keeps_its_head(store: &impl ArchiveStore) {
    let archive = store.open_archive().await;
    let empty = test_segment(store, 9, 0);
    archive.import(&empty).await.expect("import");
    let bounds = archive.log_bounds(&lobby_channel()).await.expect("bounds");
    assert_eq!(
        (&bounds.head.epoch, bounds.head.offset, bounds.first),
        (&empty.epoch, Offset(9), Offset(10)),
        "the bounds"
    );
    assert_eq!(archive.logged_channels().await.expect("channels"), [lobby_channel()], "the channel is listed");
    drop(archive);
    let next =
        store.open_log().await.append(append_request(&lobby_channel(), "alice", "m10", "1")).await.expect("append");
    assert_eq!(
        (next.position.offset, next.position.epoch),
        (Offset(10), empty.epoch),
        "the log continues after its head"
    );
}

/// Appended messages are exported.
pub async fn appended_messages_are_exported(store: &impl ArchiveStore) {
    let log = store.open_log().await;
    let mut written = append_request(&lobby_channel(), "alice", "m1", "{ \"n\" :1.0}");
    written.sent_at = store.now();
    let position = log.append(written.clone()).await.expect("append").position;
    drop(log);
    let archive = store.open_archive().await;
    let found = archive
        .export(&lobby_channel(), Offset::START, ExportLimits { max_entries: 10, max_bytes: 1_000 })
        .await
        .expect("export");
    assert_eq!(found.head, position, "the head");
    assert_eq!(found.entries[0].body.get(), written.body.get(), "the body");
    assert_eq!((&found.entries[0].sender, &found.entries[0].id), (&written.sender, &written.id), "sender and id");
}

/// Channels of all tenants are listed, except channels without messages.
pub async fn channels_are_listed_once_and_in_order(store: &impl ArchiveStore) {
    let log = store.open_log().await;
    let keys = ["acme/conversation:bob", "acme/room:lobby", "other/room:lobby", "other/topic:prices"];
    for key in [3, 1, 0, 2].map(|index: usize| keys[index]) {
        for id in ["m1", "m2"] {
            log.append(append_request(&channel_from_key(key), "alice", id, "1")).await.expect("append");
        }
    }
    log.heads(&[channel_from_key("acme/room:unwritten")]).await.expect("heads");
    drop(log);
    let found = store.open_archive().await.logged_channels().await.expect("channels");
    assert_eq!(found, keys.map(channel_from_key), "the channels");
}

fn lobby_channel() -> Channel {
    channel_from_key("acme/room:lobby")
}

/// Returns entries of different senders, with bodies that careless encoding would change.
fn test_segment(store: &impl ArchiveStore, from: u64, count: u64) -> LogSegment {
    let entry = |offset| LogEntry {
        offset: Offset(offset),
        sender: MessageSender {
            user: UserId::parse(&format!("user{}@example.com", offset % 3)).expect(VALID_NAMES),
            role: [Role::User, Role::Admin, Role::Service][offset as usize % 3],
        },
        id: MessageId::parse(&format!("m{{{offset}}}:/")).expect(VALID_NAMES),
        sent_at: Timestamp(store.now().0 - 1_000 + offset as i64),
        body: Arc::from(
            RawValue::from_string(format!("{{ \"n\" : {offset}.50e0, \"\\u00e9\u{1f600}\":[ ]}}")).expect(VALID_NAMES),
        ),
    };
    let entries = (from + 1..=from + count).map(entry).collect();
    LogSegment { channel: lobby_channel(), epoch: Epoch("source-epoch".into()), after: Offset(from), entries }
}

/// Returns the append request of an entry, 5 ms later.
fn repeated_append(entry: &LogEntry) -> crate::ports::AppendRequest {
    let LogEntry { sender, id, body, .. } = entry.clone();
    crate::ports::AppendRequest { channel: lobby_channel(), sender, id, sent_at: Timestamp(entry.sent_at.0 + 5), body }
}

fn assert_same(found: &[LogEntry], expected: &[LogEntry]) {
    assert_eq!(found.len(), expected.len(), "number of entries");
    for (found, expected) in found.iter().zip(expected) {
        let parts = |entry: &LogEntry| (entry.offset, entry.sender.clone(), entry.id.clone(), entry.sent_at);
        assert_eq!(parts(found), parts(expected), "all fields");
        assert_eq!(found.body.get(), expected.body.get(), "the body of {}", expected.offset);
    }
}
