//! Tests of copies interrupted at every page, and of targets that are not an earlier state of their source.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use handlers::channel::Epoch;
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::memory::{ChannelRetention, MemoryLog};
use handlers::ports::{AppendRequest, MessageLog as _, MessageSender, Timestamp};
use serde_json::value::RawValue;

use super::*;
use crate::retention::TargetRetention;
use crate::verify::verify_channel;

fn memory(epoch: &str, entries: usize) -> MemoryLog {
    MemoryLog::new(Epoch(epoch.into()), ChannelRetention { max_entries: entries, max_bytes: usize::MAX })
}

fn lobby() -> Channel {
    Channel::from_key("acme/room:lobby").unwrap()
}

async fn write(log: &MemoryLog, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        let append = AppendRequest {
            channel: lobby(),
            sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
            id: MessageId::parse(&format!("m{number}")).unwrap(),
            sent_at: Timestamp(number as i64),
            body: Arc::from(RawValue::from_string(number.to_string()).unwrap()),
        };
        log.append(append).await.unwrap();
    }
}

fn hidden_progress() -> Progress {
    Progress::new("copying", 0)
}

async fn copy_lobby(source: &dyn LogArchive, target: &dyn LogArchive) -> Result<u64, CopyError> {
    copy_channel(source, target, &lobby(), &hidden_progress(), &CancellationToken::new()).await
}

/// Store that fails after a number of imports, either before or after it wrote the page.
struct FailingArchive<'a> {
    inner: &'a MemoryLog,
    remaining: AtomicUsize,
    after_writing: bool,
}

#[async_trait]
impl LogArchive for FailingArchive<'_> {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        self.inner.logged_channels().await
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        self.inner.export(channel, after, limits).await
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        let remaining = &self.remaining;
        let fails = remaining.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if !fails || self.after_writing {
            self.inner.import(segment).await?;
        }
        if fails { Err(LogError::Unavailable("connection lost".into()).into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_copy_interrupted_at_any_page_continues() {
    let source = memory("source", usize::MAX);
    write(&source, 1..=PAGE_LIMITS.max_entries * 3 + 7).await;
    for pages in 0..4 {
        for after_writing in [false, true] {
            let target = memory("target", usize::MAX);
            let failing = FailingArchive { inner: &target, remaining: AtomicUsize::new(pages), after_writing };
            assert!(matches!(copy_lobby(&source, &failing).await, Err(CopyError::WriteTarget(_))), "page {pages}");
            let rest = copy_lobby(&source, &target).await.unwrap();
            let before = (pages + usize::from(after_writing)) * PAGE_LIMITS.max_entries;
            assert_eq!(
                rest as usize,
                (PAGE_LIMITS.max_entries * 3 + 7).saturating_sub(before),
                "only missing messages are copied"
            );
            let equal = verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &hidden_progress())
                .await
                .unwrap();
            assert_eq!(equal.messages as usize, PAGE_LIMITS.max_entries * 3 + 7);
        }
    }
}

#[tokio::test]
async fn a_stopped_copy_ends_between_two_pages() {
    let (source, target) = (memory("source", usize::MAX), memory("target", usize::MAX));
    write(&source, 1..=PAGE_LIMITS.max_entries * 2).await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(copy_channel(&source, &target, &lobby(), &hidden_progress(), &stop).await.unwrap(), 0);
    assert_eq!(target.log_bounds(&lobby()).await.unwrap().head.offset, Offset::START);
}

#[tokio::test]
async fn a_target_that_is_not_an_earlier_state_of_the_source_is_unchanged() {
    let source = memory("source", 10);
    write(&source, 1..=20).await;
    let foreign = memory("other", 10);
    write(&foreign, 1..=3).await;
    assert!(matches!(copy_lobby(&source, &foreign).await, Err(CopyError::EpochMismatch)));
    let ahead = memory("source", 10);
    write(&ahead, 1..=21).await;
    assert!(matches!(
        copy_lobby(&source, &ahead).await,
        Err(CopyError::TargetAhead { target: Offset(21), source_head: Offset(20) })
    ));
    let outdated = memory("source", 10);
    write(&outdated, 1..=5).await;
    assert!(matches!(copy_lobby(&source, &outdated).await, Err(CopyError::SourceTrimmed { first: Offset(11), .. })));
    let adjacent = memory("source", 100);
    write(&adjacent, 1..=10).await;
    assert_eq!(copy_lobby(&source, &adjacent).await.unwrap(), 10);
}

#[tokio::test]
async fn trimmed_messages_of_the_source_are_no_difference() {
    let (source, target) = (memory("source", 10), memory("target", usize::MAX));
    write(&source, 1..=20).await;
    assert_eq!(copy_lobby(&source, &target).await.unwrap(), 10);
    write(&source, 21..=25).await;
    assert_eq!(copy_lobby(&source, &target).await.unwrap(), 5);
    let equal =
        verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &hidden_progress()).await.unwrap();
    assert_eq!(equal.messages, 10, "the messages in both stores");
}

#[tokio::test]
async fn messages_expired_in_the_target_are_no_difference() {
    let (source, target) = (memory("source", usize::MAX), memory("source", 4));
    write(&source, 1..=10).await;
    write(&target, 1..=10).await;
    let missing = verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &hidden_progress()).await;
    assert!(matches!(missing, Err(crate::verify::VerifyError::MissingStart { first: Offset(7) })), "{missing:?}");
    // Message n was sent at n milliseconds; messages 1 to 6 have expired.
    let retention = TargetRetention::MaxAge(Timestamp(16), std::time::Duration::from_millis(10));
    let equal = verify_channel(&source, &target, &lobby(), retention, &hidden_progress()).await.unwrap();
    assert_eq!(equal.messages, 4);
}
