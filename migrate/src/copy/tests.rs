//! Copies that are cut short at every step, and targets that are no earlier state of their source.

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
use crate::keeping::TargetRetention;
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

fn unwatched() -> Progress {
    Progress::new("copying", 0)
}

async fn copied(source: &dyn LogArchive, target: &dyn LogArchive) -> Result<u64, CopyError> {
    copy_channel(source, target, &lobby(), &unwatched(), &CancellationToken::new()).await
}

/// A store that fails after so many imports: before it writes, or after, so that nobody knows.
struct Failing<'a> {
    inner: &'a MemoryLog,
    left: AtomicUsize,
    after_writing: bool,
}

#[async_trait]
impl LogArchive for Failing<'_> {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        self.inner.logged_channels().await
    }

    async fn export(&self, channel: &Channel, after: Offset, most: ExportLimits) -> Result<LogSlice, LogError> {
        self.inner.export(channel, after, most).await
    }

    async fn import(&self, stretch: &LogSegment) -> Result<(), ImportError> {
        let fails = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        if !fails || self.after_writing {
            self.inner.import(stretch).await?;
        }
        if fails { Err(LogError::Unavailable("the network is cut".into()).into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_copy_that_is_cut_short_anywhere_goes_on() {
    let source = memory("source", usize::MAX);
    write(&source, 1..=PAGE_LIMITS.max_entries * 3 + 7).await;
    for steps in 0..4 {
        for after_writing in [false, true] {
            let target = memory("target", usize::MAX);
            let failing = Failing { inner: &target, left: AtomicUsize::new(steps), after_writing };
            assert!(matches!(copied(&source, &failing).await, Err(CopyError::WriteTarget(_))), "step {steps}");
            let rest = copied(&source, &target).await.unwrap();
            let before = (steps + usize::from(after_writing)) * PAGE_LIMITS.max_entries;
            assert_eq!(
                rest as usize,
                (PAGE_LIMITS.max_entries * 3 + 7).saturating_sub(before),
                "only what was missing is copied"
            );
            let equal =
                verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &unwatched()).await.unwrap();
            assert_eq!(equal.messages as usize, PAGE_LIMITS.max_entries * 3 + 7);
        }
    }
}

#[tokio::test]
async fn a_copy_that_is_told_to_stop_stops_between_two_steps() {
    let (source, target) = (memory("source", usize::MAX), memory("target", usize::MAX));
    write(&source, 1..=PAGE_LIMITS.max_entries * 2).await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(copy_channel(&source, &target, &lobby(), &unwatched(), &stop).await.unwrap(), 0);
    assert_eq!(target.log_bounds(&lobby()).await.unwrap().head.offset, Offset::START);
}

#[tokio::test]
async fn a_target_that_is_no_earlier_state_of_the_source_is_left_alone() {
    let source = memory("source", 10);
    write(&source, 1..=20).await;
    let foreign = memory("other", 10);
    write(&foreign, 1..=3).await;
    assert!(matches!(copied(&source, &foreign).await, Err(CopyError::EpochMismatch)));
    let ahead = memory("source", 10);
    write(&ahead, 1..=21).await;
    assert!(matches!(
        copied(&source, &ahead).await,
        Err(CopyError::TargetAhead { target: Offset(21), origin: Offset(20) })
    ));
    let behind = memory("source", 10);
    write(&behind, 1..=5).await;
    assert!(matches!(copied(&source, &behind).await, Err(CopyError::SourceTrimmed { first: Offset(11), .. })));
    let at_the_edge = memory("source", 100);
    write(&at_the_edge, 1..=10).await;
    assert_eq!(copied(&source, &at_the_edge).await.unwrap(), 10);
}

#[tokio::test]
async fn what_the_source_dropped_is_not_missed() {
    let (source, target) = (memory("source", 10), memory("target", usize::MAX));
    write(&source, 1..=20).await;
    assert_eq!(copied(&source, &target).await.unwrap(), 10);
    write(&source, 21..=25).await;
    assert_eq!(copied(&source, &target).await.unwrap(), 5);
    let equal = verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &unwatched()).await.unwrap();
    assert_eq!(equal.messages, 10, "what both have");
}

#[tokio::test]
async fn what_a_target_does_not_keep_is_no_difference() {
    let (source, target) = (memory("source", usize::MAX), memory("source", 4));
    write(&source, 1..=10).await;
    write(&target, 1..=10).await;
    let missing = verify_channel(&source, &target, &lobby(), TargetRetention::Unlimited, &unwatched()).await;
    assert!(matches!(missing, Err(crate::verify::VerifyError::MissingStart { first: Offset(7) })), "{missing:?}");
    // Messages are sent at their own number of milliseconds; those up to 6 have expired.
    let keeping = TargetRetention::MaxAge(Timestamp(16), std::time::Duration::from_millis(10));
    let equal = verify_channel(&source, &target, &lobby(), keeping, &unwatched()).await.unwrap();
    assert_eq!(equal.messages, 4);
}
