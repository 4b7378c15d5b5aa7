//! Tests of the whole log: the port's contract, restarts, group commit, retention, and failures of the file.

mod disk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset};
use handlers::conformance;
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::memory::ManualClock;
use handlers::ports::{AppendOutcome, AppendRequest, LogError, LogRange, MessageLog, MessageSender, Timestamp};
use serde_json::value::RawValue;
use tempfile::TempDir;

use self::disk::Disk;
use super::*;
use crate::config::Config;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A log in a temporary directory.
struct Fixture {
    log: FileLog,
    clock: Arc<ManualClock>,
    directory: TempDir,
}

fn config(directory: &Path, entries: u64, age: Duration) -> StorageConfig {
    StorageConfig {
        data_dir: directory.to_owned(),
        retention_entries: entries,
        retention_age: age,
        ..Config::for_tests().storage
    }
}

fn fixture_with_retention(entries: u64, age: Duration) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let log = FileLog::open(&config(directory.path(), entries, age), clock.clone()).unwrap();
    Fixture { log, clock, directory }
}

const DAY: Duration = Duration::from_secs(86_400);

fn fixture() -> Fixture {
    fixture_with_retention(100_000, DAY)
}

fn open(directory: &Path) -> Result<FileLog, LogOpenError> {
    FileLog::open(&config(directory, 100_000, DAY), Arc::new(ManualClock::new(NOW)))
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

fn message(channel: &Channel, id: &str) -> AppendRequest {
    AppendRequest {
        channel: channel.clone(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse(id).unwrap(),
        sent_at: NOW,
        body: Arc::from(RawValue::from_string(format!("\"{id}\"")).unwrap()),
    }
}

async fn append(log: &FileLog, id: &str) -> Result<AppendOutcome, LogError> {
    log.append(message(&lobby(), id)).await
}

async fn offsets(log: &FileLog) -> (u64, Vec<u64>) {
    let slice = log.read(&lobby(), LogRange::After(Offset::START), 1_000, 1 << 20).await.unwrap();
    (slice.first.0, slice.entries.iter().map(|entry| entry.offset.0).collect())
}

#[tokio::test]
async fn it_fulfils_the_contract() {
    let directories = parking_lot::Mutex::new(Vec::new());
    conformance::log::run_suite(async || {
        let Fixture { log, directory, .. } = fixture();
        directories.lock().push(directory);
        Arc::new(log) as Arc<dyn MessageLog>
    })
    .await;
}

#[tokio::test]
async fn epoch_offsets_and_deduplication_survive_a_restart() {
    let Fixture { log, directory, .. } = fixture();
    let first = append(&log, "m1").await.unwrap();
    append(&log, "m2").await.unwrap();
    drop(log);

    let log = open(directory.path()).unwrap();
    assert_eq!(log.heads(&[lobby()]).await.unwrap()[0].epoch, first.position.epoch);
    assert_eq!(append(&log, "m1").await.unwrap(), AppendOutcome { duplicate: true, ..first });
    assert_eq!(append(&log, "m3").await.unwrap().position.offset, Offset(3));
    assert_eq!(offsets(&log).await, (1, vec![1, 2, 3]));
}

#[tokio::test]
async fn another_file_has_another_epoch() {
    let (one, other) = (fixture(), fixture());
    let heads = (one.log.heads(&[lobby()]).await.unwrap(), other.log.heads(&[lobby()]).await.unwrap());
    assert_ne!(heads.0[0].epoch, heads.1[0].epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_appends_share_their_commits() {
    let log = Arc::new(fixture().log);
    let tasks = tokio_util::task::TaskTracker::new();
    let appends: Vec<_> = (0..1_000)
        .map(|number| {
            let log = log.clone();
            tasks.spawn(async move { append(&log, &format!("m{number}")).await.unwrap().position.offset.0 })
        })
        .collect();
    let mut offsets = futures_util::future::join_all(appends).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    offsets.sort_unstable();
    assert!(offsets.iter().copied().eq(1..=1_000), "offsets are not dense");
    assert_eq!(log.metrics().appended_messages.get(), 1_000);
    assert!(log.metrics().commits.get() <= 60, "{} commits", log.metrics().commits.get());
}

#[tokio::test]
async fn a_batch_of_duplicates_commits_nothing() {
    let log = fixture().log;
    append(&log, "m1").await.unwrap();
    append(&log, "m1").await.unwrap();
    assert_eq!((log.metrics().commits.get(), log.metrics().duplicate_appends.get()), (1, 1));
}

#[tokio::test]
async fn the_oldest_entries_are_deleted_first_and_offsets_remain() {
    let Fixture { log, directory, .. } = fixture_with_retention(3, DAY);
    for number in 1..=5 {
        append(&log, &format!("m{number}")).await.unwrap();
    }
    assert_eq!(offsets(&log).await, (3, vec![3, 4, 5]));
    // The id of a deleted message may be used again, for a new message.
    assert!(!append(&log, "m1").await.unwrap().duplicate);
    assert!(append(&log, "m5").await.unwrap().duplicate);
    drop(log);
    let log = open(directory.path()).unwrap();
    assert_eq!(offsets(&log).await, (4, vec![4, 5, 6]));
}

#[tokio::test]
async fn an_append_deletes_expired_entries_of_its_channel() {
    let Fixture { log, clock, directory: _directory } = fixture_with_retention(1_000, DAY);
    append(&log, "m1").await.unwrap();
    append(&log, "m2").await.unwrap();
    clock.advance(DAY);
    let mut late = message(&lobby(), "m3");
    late.sent_at = NOW.plus(DAY);
    log.append(late).await.unwrap();
    assert_eq!(offsets(&log).await, (3, vec![3]));
    assert_eq!(log.metrics().expired_messages.get(), 2);
}

#[tokio::test]
async fn a_sweep_empties_a_channel_without_writes() {
    let Fixture { log, directory: _directory, .. } = fixture_with_retention(1_000, DAY);
    append(&log, "m1").await.unwrap();
    append(&log, "m2").await.unwrap();
    let limits = retention::RetentionLimits::from_config(&config(Path::new(""), 1_000, DAY));
    let mut cursor = retention::SweepCursor::default();
    let overdue = |cursor: &mut _, now| {
        log.database.with_snapshot(|snapshot| retention::find_overdue(snapshot, cursor, &limits, now))
    };
    assert!(overdue(&mut cursor, NOW).unwrap().is_empty());
    assert!(overdue(&mut cursor, NOW.plus(DAY)).unwrap().is_empty(), "the cursor is after the last channel");
    let keys = overdue(&mut cursor, NOW.plus(DAY)).unwrap();
    assert_eq!(keys, ["acme/room:lobby"]);
    let swept = log
        .database
        .with_transaction(|transaction| retention::sweep_channels(transaction, &keys, &limits, NOW.plus(DAY)).map(Some))
        .unwrap();
    assert_eq!(swept.unwrap().expired, 2);
    log.head_cache.clear();
    assert_eq!(offsets(&log).await, (3, vec![]));
    assert_eq!(append(&log, "m3").await.unwrap().position.offset, Offset(3), "offsets of an emptied channel continue");
}

#[tokio::test]
async fn a_full_disk_rejects_appends_serves_reads_and_recovers() {
    let disk = Disk::default();
    let directory = tempfile::tempdir().unwrap();
    let log = disk.log(directory.path());
    let mut acknowledged = Vec::new();
    disk.fill();
    for number in 0..10_000 {
        match append(&log, &format!("m{number}")).await {
            Ok(appended) => acknowledged.push(appended.position.offset.0),
            Err(error) => {
                assert!(matches!(error, LogError::Full(_)), "{error:?}");
                break;
            }
        }
    }
    assert!(acknowledged.len() < 10_000, "the disk was never full");
    assert_eq!(offsets(&log).await.1, acknowledged, "reads are served");
    assert!(matches!(append(&log, "rejected").await, Err(LogError::Full(_))), "the disk is still full");
    assert!(log.metrics().reopens.get() > 0);

    disk.free();
    let next = append(&log, "after").await.unwrap().position.offset.0;
    assert_eq!(next, acknowledged.len() as u64 + 1, "a rejected append consumes no offset");
    drop(log);
    assert_eq!(offsets(&disk.log(directory.path())).await.1.len() as u64, next);
}

#[tokio::test]
async fn an_append_with_a_failed_sync_is_not_acknowledged() {
    let disk = Disk::default();
    let directory = tempfile::tempdir().unwrap();
    let log = disk.log(directory.path());
    append(&log, "m1").await.unwrap();
    disk.break_syncs(true);
    assert!(matches!(append(&log, "m2").await, Err(LogError::Unavailable(_))));
    disk.break_syncs(false);
    // It is unknown if the failed commit took effect. The retry returns the position, and the log has the message once.
    assert_eq!(append(&log, "m2").await.unwrap().position.offset, Offset(2));
    assert_eq!(offsets(&log).await, (1, vec![1, 2]));
}

#[tokio::test]
async fn a_closed_log_is_unavailable() {
    let log = fixture().log;
    append(&log, "m1").await.unwrap();
    log.close();
    assert!(matches!(append(&log, "m2").await, Err(LogError::Unavailable(_))));
    assert!(matches!(log.read(&lobby(), LogRange::Before(None), 1, 1).await, Err(LogError::Unavailable(_))));
}

#[test]
fn a_file_in_use_is_locked() {
    let Fixture { log: _log, directory, .. } = fixture();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, LogOpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("another twinway uses"), "{error}");
}

#[test]
fn a_file_of_another_program_is_rejected_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("messages.redb");
    std::fs::write(&path, "a text file").unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, LogOpenError::UnsupportedFormat { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a text file");
}

#[test]
fn a_redb_file_of_another_program_or_version_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("messages.redb");
    let write = |table: redb::TableDefinition<'_, &str, &str>, key: &str, value: &str| {
        let database = redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(key, value).unwrap();
        transaction.commit().unwrap();
    };
    write(redb::TableDefinition::new("settings"), "language", "en");
    assert!(open(directory.path()).err().unwrap().to_string().contains("of another program"));
    // Format 1 had the table "seen" in place of "deduplication".
    for format in ["twinway messages 1", "twinway messages 3"] {
        write(tables::META_TABLE, tables::FORMAT_KEY, format);
        let error = open(directory.path()).err().unwrap();
        assert!(matches!(error, LogOpenError::UnsupportedFormat { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(format) && text.contains("requires \"twinway messages 2\""), "{text}");
    }
}

#[tokio::test]
async fn a_file_whose_creation_was_interrupted_is_created_again() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("messages.redb"), [0; 4_096]).unwrap();
    assert_eq!(append(&open(directory.path()).unwrap(), "m1").await.unwrap().position.offset, Offset(1));
}

#[test]
fn a_corrupt_file_is_reported_with_its_path() {
    let Fixture { log, directory, .. } = fixture();
    drop(log);
    let path = directory.path().join("messages.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[9..320].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, LogOpenError::Corrupt { .. } | LogOpenError::UnsupportedFormat { .. }), "{error:?}");
    assert!(error.to_string().contains("messages.redb"), "{error}");
}

#[test]
fn a_file_at_the_path_of_the_data_directory_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(open(&path), Err(LogOpenError::DataDir(_))));
}
