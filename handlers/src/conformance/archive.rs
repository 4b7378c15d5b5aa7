//! The contract of [`LogArchive`]: what was imported is the log that it was, also for the port.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::{VALID, append, channel};
use crate::archive::{ImportError, LogArchive, Most, Stretch};
use crate::channel::{Channel, Epoch, Offset};
use crate::id::{MessageId, UserId};
use crate::identity::Role;
use crate::ports::{Entry, MessageLog, Range, Sender, Timestamp};

/// A store, opened as either. Each is dropped before the other is opened: some stores can only be open once.
#[async_trait]
pub trait Store: Send + Sync {
    /// As whoever moves logs sees it.
    async fn archive(&self) -> Box<dyn LogArchive>;
    /// As the application sees it. Its messages are kept for a day at least, by a clock that says `now`.
    async fn log(&self) -> Arc<dyn MessageLog>;
    /// The present, by the clock that retention goes by.
    fn now(&self) -> Timestamp;
}

/// Runs every case, each on a store of its own.
pub async fn all<S: Store>(fresh: impl AsyncFn() -> S) {
    an_imported_log_is_the_one_that_it_was(&fresh().await).await;
    an_import_in_parts_is_one_log(&fresh().await).await;
    what_does_not_follow_is_refused(&fresh().await).await;
    an_emptied_log_keeps_its_end(&fresh().await).await;
    what_was_appended_is_exported(&fresh().await).await;
    channels_are_listed_once_and_in_order(&fresh().await).await;
}

/// Every field, the ends, the epoch, and the memory of ids.
pub async fn an_imported_log_is_the_one_that_it_was(store: &impl Store) {
    let archive = store.archive().await;
    let stretch = stretch(store, 4, 6);
    archive.import(&stretch).await.expect("import");
    let found = archive.export(&lobby(), Offset::START, Most { entries: 100, bytes: 1 << 20 }).await.expect("export");
    assert_eq!(
        (&found.head.epoch, found.head.offset, found.first),
        (&stretch.epoch, Offset(10), Offset(5)),
        "the ends"
    );
    assert_same(&found.entries, &stretch.entries);
    let ends = archive.ends(&lobby()).await.expect("ends");
    assert_eq!(
        (ends.head.clone(), ends.first, ends.entries.len()),
        (found.head.clone(), Offset(5), 0),
        "without entries"
    );
    drop(archive);

    let log = store.log().await;
    let slice = log.read(&lobby(), Range::Before(None), 100, 1 << 20).await.expect("read");
    assert_eq!((slice.head, slice.first), (found.head.clone(), Offset(5)), "the port tells the same");
    assert_same(&slice.entries, &stretch.entries);
    assert_eq!(log.heads(&[lobby()]).await.expect("heads"), [found.head], "and by the heads");
    let again = repeated(&stretch.entries[2]);
    let known = log.append(again).await.expect("append");
    assert_eq!((known.position.offset, known.duplicate), (Offset(7), true), "an imported id is remembered");
    assert_eq!(known.sent_at, stretch.entries[2].sent_at, "with its time");
    let next = log.append(append(&lobby(), "alice", "new", "1")).await.expect("append").position;
    assert_eq!((next.offset, next.epoch), (Offset(11), stretch.epoch), "what is new follows, in the same epoch");
}

/// Parts that overlap, or come twice, add up.
pub async fn an_import_in_parts_is_one_log(store: &impl Store) {
    let archive = store.archive().await;
    for (from, count) in [(0, 3), (0, 3), (1, 5), (6, 2), (8, 0)] {
        let imported = archive.import(&stretch(store, from, count)).await;
        imported.unwrap_or_else(|error| panic!("{count} behind {from}: {error}"));
    }
    let found = archive.export(&lobby(), Offset::START, Most { entries: 100, bytes: 1 << 20 }).await.expect("export");
    assert_eq!((found.first, found.head.offset), (Offset(1), Offset(8)), "the ends");
    assert_same(&found.entries, &stretch(store, 0, 8).entries);
}

/// A hole, and another epoch, leave the log as it is.
pub async fn what_does_not_follow_is_refused(store: &impl Store) {
    let archive = store.archive().await;
    archive.import(&stretch(store, 0, 3)).await.expect("import");
    let hole = archive.import(&stretch(store, 4, 2)).await;
    assert!(matches!(hole, Err(ImportError::Hole)), "{hole:?}");
    let beyond = archive.import(&stretch(store, 9, 0)).await;
    assert!(matches!(beyond, Err(ImportError::Hole)), "{beyond:?}");
    let mut other = stretch(store, 3, 1);
    other.epoch = Epoch("another".into());
    let other = archive.import(&other).await;
    assert!(matches!(other, Err(ImportError::Epoch)), "{other:?}");
    assert_eq!(archive.ends(&lobby()).await.expect("ends").head.offset, Offset(3), "nothing was written");
}

/// A log whose entries have all gone goes on where it ended.
pub async fn an_emptied_log_keeps_its_end(store: &impl Store) {
    let archive = store.archive().await;
    let empty = stretch(store, 9, 0);
    archive.import(&empty).await.expect("import");
    let ends = archive.ends(&lobby()).await.expect("ends");
    assert_eq!((&ends.head.epoch, ends.head.offset, ends.first), (&empty.epoch, Offset(9), Offset(10)), "the ends");
    assert_eq!(archive.channels().await.expect("channels"), [lobby()], "it is listed");
    drop(archive);
    let next = store.log().await.append(append(&lobby(), "alice", "m10", "1")).await.expect("append");
    assert_eq!((next.position.offset, next.position.epoch), (Offset(10), empty.epoch), "it goes on");
}

/// What the application wrote comes out.
pub async fn what_was_appended_is_exported(store: &impl Store) {
    let log = store.log().await;
    let mut written = append(&lobby(), "alice", "m1", "{ \"n\" :1.0}");
    written.sent_at = store.now();
    let position = log.append(written.clone()).await.expect("append").position;
    drop(log);
    let archive = store.archive().await;
    let found = archive.export(&lobby(), Offset::START, Most { entries: 10, bytes: 1_000 }).await.expect("export");
    assert_eq!(found.head, position, "the end");
    assert_eq!(found.entries[0].body.get(), written.body.get(), "the body");
    assert_eq!((&found.entries[0].sender, &found.entries[0].id), (&written.sender, &written.id), "who wrote it");
}

/// Channels of all tenants, without those that nobody wrote to.
pub async fn channels_are_listed_once_and_in_order(store: &impl Store) {
    let log = store.log().await;
    let keys = ["acme/conversation:bob", "acme/room:lobby", "other/room:lobby", "other/topic:prices"];
    for key in [3, 1, 0, 2].map(|index: usize| keys[index]) {
        for id in ["m1", "m2"] {
            log.append(append(&channel(key), "alice", id, "1")).await.expect("append");
        }
    }
    log.heads(&[channel("acme/room:unwritten")]).await.expect("heads");
    drop(log);
    let found = store.archive().await.channels().await.expect("channels");
    assert_eq!(found, keys.map(channel), "the channels");
}

fn lobby() -> Channel {
    channel("acme/room:lobby")
}

/// Entries as they never come from one author alone, with bodies that are easily damaged.
fn stretch(store: &impl Store, from: u64, count: u64) -> Stretch {
    let entry = |offset| Entry {
        offset: Offset(offset),
        sender: Sender {
            user: UserId::parse(&format!("user{}@example.com", offset % 3)).expect(VALID),
            role: [Role::User, Role::Admin, Role::Service][offset as usize % 3],
        },
        id: MessageId::parse(&format!("m{{{offset}}}:/")).expect(VALID),
        sent_at: Timestamp(store.now().0 - 1_000 + offset as i64),
        body: Arc::from(
            RawValue::from_string(format!("{{ \"n\" : {offset}.50e0, \"\\u00e9\u{1f600}\":[ ]}}")).expect(VALID),
        ),
    };
    let entries = (from + 1..=from + count).map(entry).collect();
    Stretch { channel: lobby(), epoch: Epoch("came-from-elsewhere".into()), from: Offset(from), entries }
}

/// The append that wrote an entry, a little later.
fn repeated(entry: &Entry) -> crate::ports::Append {
    let Entry { sender, id, body, .. } = entry.clone();
    crate::ports::Append { channel: lobby(), sender, id, sent_at: Timestamp(entry.sent_at.0 + 5), body }
}

fn assert_same(found: &[Entry], expected: &[Entry]) {
    assert_eq!(found.len(), expected.len(), "as many entries");
    for (found, expected) in found.iter().zip(expected) {
        let parts = |entry: &Entry| (entry.offset, entry.sender.clone(), entry.id.clone(), entry.sent_at);
        assert_eq!(parts(found), parts(expected), "every field");
        assert_eq!(found.body.get(), expected.body.get(), "the body of {}", expected.offset);
    }
}
