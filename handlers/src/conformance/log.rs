//! The contract of [`MessageLog`].

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{append_request, channel_from_key};
use crate::channel::{Channel, Offset};
use crate::limits;
use crate::ports::{LogRange, MessageLog, Timestamp};

/// Default number of concurrent writers to one channel.
const CONCURRENT_WRITERS: u64 = 64;

/// Runs every case, each on new logs that retain at least 200 messages of 28 KiB per channel.
pub async fn run_suite(fresh: impl AsyncFn() -> Arc<dyn MessageLog>) {
    run_suite_with_writers(CONCURRENT_WRITERS, fresh).await;
}

/// Runs every case with this number of concurrent writers. The work of a log with optimistic concurrency grows with the
/// square of the number of writers, and its operations have a deadline.
pub async fn run_suite_with_writers(writers: u64, fresh: impl AsyncFn() -> Arc<dyn MessageLog>) {
    an_unwritten_channel_is_empty(fresh().await).await;
    offsets_are_dense(fresh().await).await;
    entries_read_back_whole(fresh().await).await;
    a_repeated_append_returns_the_first_position(fresh().await).await;
    message_ids_are_scoped_to_channel_and_sender(fresh().await).await;
    concurrent_repeats_append_once(fresh().await).await;
    concurrent_appends_are_dense(writers, fresh().await).await;
    reads_ascend_after_an_offset(fresh().await).await;
    reads_return_entries_before_an_offset(fresh().await).await;
    pages_end_at_the_byte_limit(fresh().await).await;
    heads_are_returned_in_request_order(fresh().await).await;
    large_bodies_are_stored_byte_for_byte(fresh().await).await;
    tenants_are_isolated(fresh().await).await;
}

/// A channel without messages is empty.
pub async fn an_unwritten_channel_is_empty(log: Arc<dyn MessageLog>) {
    for range in [
        LogRange::After(Offset::START),
        LogRange::After(Offset(7)),
        LogRange::Before(None),
        LogRange::Before(Some(Offset(7))),
    ] {
        let slice = log.read(&lobby_channel(), range, 10, 1_000).await.expect("read");
        assert!(slice.entries.is_empty(), "{range:?} of an empty log has entries");
        assert_eq!((slice.head.offset, slice.first), (Offset(0), Offset(1)), "the bounds of an empty log");
    }
}

/// Sequential appends get the offsets 1, 2, 3, and each append is visible to the next read.
pub async fn offsets_are_dense(log: Arc<dyn MessageLog>) {
    for number in 1..=20 {
        let appended =
            log.append(append_request(&lobby_channel(), "alice", &format!("m{number}"), "1")).await.expect("append");
        assert_eq!(appended.position.offset, Offset(number), "the offset of append {number}");
        assert!(!appended.duplicate, "append {number} is the first of its id");
        let slice = log.read(&lobby_channel(), LogRange::Before(None), 1, 1_000).await.expect("read");
        assert_eq!(slice.head, appended.position, "a read after the append sees it");
        assert_eq!(entry_offsets(&slice.entries), [number], "the read returns the appended message");
    }
}

/// Every field of a message is read back, the body as exactly the same text.
pub async fn entries_read_back_whole(log: Arc<dyn MessageLog>) {
    let body = "{ \"text\" : \"caf\\u00e9 \u{1f600}\",\n\"n\": 1.50e2, \"deep\": [[[null]]] }";
    let written = append_request(&lobby_channel(), "alice", "m1", body);
    log.append(written.clone()).await.expect("append");
    let slice = log.read(&lobby_channel(), LogRange::After(Offset::START), 10, 1_000).await.expect("read");
    let entry = slice.entries.first().expect("the entry exists");
    assert_eq!(entry.offset, Offset(1), "its offset");
    assert_eq!(entry.sender, written.sender, "its sender");
    assert_eq!(entry.id, written.id, "its id");
    assert_eq!(entry.sent_at, written.sent_at, "its time");
    assert_eq!(entry.body.get(), body, "its body");
}

/// Repeating an id of the same sender writes nothing and returns the first position and time.
pub async fn a_repeated_append_returns_the_first_position(log: Arc<dyn MessageLog>) {
    let first = append_request(&lobby_channel(), "alice", "m1", "\"first\"");
    let position = log.append(first.clone()).await.expect("append").position;
    log.append(append_request(&lobby_channel(), "bob", "m2", "2")).await.expect("append another");
    let mut request = append_request(&lobby_channel(), "alice", "m1", "\"second\"");
    request.sent_at = Timestamp(first.sent_at.0 + 5_000);
    let repeated = log.append(request).await.expect("append again");
    assert_eq!((repeated.position, repeated.duplicate), (position, true), "a repeat returns the first position");
    assert_eq!(repeated.sent_at, first.sent_at, "a repeat returns the first time");
    let slice = log.read(&lobby_channel(), LogRange::After(Offset::START), 10, 1_000).await.expect("read");
    assert_eq!(entry_offsets(&slice.entries), [1, 2], "nothing was written");
    assert_eq!(slice.entries[0].body.get(), "\"first\"", "the first body is kept");
}

/// The same id of another sender, or in another channel, is another message.
pub async fn message_ids_are_scoped_to_channel_and_sender(log: Arc<dyn MessageLog>) {
    let attic = channel_from_key("acme/room:attic");
    for (to, user, offset) in [(&lobby_channel(), "alice", 1), (&lobby_channel(), "bob", 2), (&attic, "alice", 1)] {
        let appended = log.append(append_request(to, user, "m1", "1")).await.expect("append");
        assert_eq!((appended.position.offset, appended.duplicate), (Offset(offset), false), "{user} in {to}");
    }
}

/// Concurrent appends of the same message write it once.
pub async fn concurrent_repeats_append_once(log: Arc<dyn MessageLog>) {
    let attempts = join_all((0..16).map(|_| log.append(append_request(&lobby_channel(), "alice", "m1", "1")))).await;
    let attempts: Vec<_> = attempts.into_iter().map(|attempt| attempt.expect("append")).collect();
    assert!(
        attempts.iter().all(|attempt| attempt.position.offset == Offset(1)),
        "all attempts have one position: {attempts:?}"
    );
    assert_eq!(
        attempts.iter().filter(|attempt| !attempt.duplicate).count(),
        1,
        "exactly one attempt is not a duplicate"
    );
    let slice = log.read(&lobby_channel(), LogRange::After(Offset::START), 10, 1_000).await.expect("read");
    assert_eq!(entry_offsets(&slice.entries), [1], "the log has one entry");
}

/// Concurrent appends of different messages get the distinct offsets 1 to n.
pub async fn concurrent_appends_are_dense(writers: u64, log: Arc<dyn MessageLog>) {
    let appends = (0..writers).map(|number| {
        let append = append_request(
            &lobby_channel(),
            &format!("user{}", number % 4),
            &format!("m{number}"),
            &number.to_string(),
        );
        let log = &log;
        async move { (number, log.append(append).await.expect("append").position.offset) }
    });
    let placed = join_all(appends).await;
    let distinct: BTreeSet<u64> = placed.iter().map(|(_, offset)| offset.0).collect();
    assert_eq!(distinct, (1..=writers).collect(), "offsets are dense and distinct");
    let slice = log.read(&lobby_channel(), LogRange::After(Offset::START), 100, 10_000).await.expect("read");
    for (number, offset) in placed {
        let entry = &slice.entries[offset.0 as usize - 1];
        assert_eq!(
            entry.body.get(),
            number.to_string(),
            "the entry at {offset} is the message that was acknowledged with {offset}"
        );
    }
}

/// `After` returns the entries after the offset, ascending, within the limit.
pub async fn reads_ascend_after_an_offset(log: Arc<dyn MessageLog>) {
    append_messages(&*log, &lobby_channel(), 10, "1").await;
    let expected: [(u64, usize, &[u64]); 5] =
        [(0, 3, &[1, 2, 3]), (3, 3, &[4, 5, 6]), (8, 3, &[9, 10]), (10, 3, &[]), (99, 3, &[])];
    for (after, limit, found) in expected {
        let slice = log.read(&lobby_channel(), LogRange::After(Offset(after)), limit, 10_000).await.expect("read");
        assert_eq!(entry_offsets(&slice.entries), found, "{limit} after {after}");
        assert_eq!((slice.head.offset, slice.first), (Offset(10), Offset(1)), "the bounds, after {after}");
    }
}

/// `Before` returns the newest entries before the offset, ascending.
pub async fn reads_return_entries_before_an_offset(log: Arc<dyn MessageLog>) {
    append_messages(&*log, &lobby_channel(), 10, "1").await;
    let expected: [(Option<u64>, usize, &[u64]); 6] = [
        (None, 3, &[8, 9, 10]),
        (Some(8), 3, &[5, 6, 7]),
        (Some(3), 3, &[1, 2]),
        (Some(1), 3, &[]),
        (Some(0), 3, &[]),
        (Some(99), 3, &[8, 9, 10]),
    ];
    for (before, limit, found) in expected {
        let slice =
            log.read(&lobby_channel(), LogRange::Before(before.map(Offset)), limit, 10_000).await.expect("read");
        assert_eq!(entry_offsets(&slice.entries), found, "{limit} before {before:?}");
    }
}

/// A page ends where the bodies reach the byte limit, has at least one entry, and is dense.
pub async fn pages_end_at_the_byte_limit(log: Arc<dyn MessageLog>) {
    let body = format!("\"{}\"", "x".repeat(998));
    append_messages(&*log, &lobby_channel(), 10, &body).await;
    for (range, one, full) in [(LogRange::After(Offset(2)), 3, 3..=6), (LogRange::Before(Some(Offset(9))), 8, 5..=8)] {
        let slice = log.read(&lobby_channel(), range, 10, 1).await.expect("read");
        assert_eq!(entry_offsets(&slice.entries), [one], "{range:?} with a byte limit of 1");
        let found = entry_offsets(&log.read(&lobby_channel(), range, 10, 3_000).await.expect("read").entries);
        assert!((2..=4).contains(&found.len()), "{range:?} with 3,000 bytes has {found:?}");
        assert!(found.contains(&one) && found.iter().all(|offset| full.contains(offset)), "{range:?} has {found:?}");
        assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "{range:?} is not dense: {found:?}");
    }
}

/// Heads of channels with and without messages are returned in order, with the epoch that reads return.
pub async fn heads_are_returned_in_request_order(log: Arc<dyn MessageLog>) {
    let [attic, cellar] = ["acme/room:attic", "acme/room:cellar"].map(channel_from_key);
    append_messages(&*log, &lobby_channel(), 3, "1").await;
    append_messages(&*log, &attic, 1, "1").await;
    let heads = log.heads(&[attic.clone(), cellar, lobby_channel()]).await.expect("heads");
    let found: Vec<u64> = heads.iter().map(|head| head.offset.0).collect();
    assert_eq!(found, [1, 0, 3], "the heads of attic, cellar, lobby");
    let slice = log.read(&attic, LogRange::Before(None), 1, 1_000).await.expect("read");
    assert_eq!(slice.head, heads[0], "a read returns the same head and epoch");
    assert!(log.heads(&[]).await.expect("heads").is_empty(), "an empty list of channels has no heads");
}

/// The largest body of the protocol is stored unchanged.
pub async fn large_bodies_are_stored_byte_for_byte(log: Arc<dyn MessageLog>) {
    let body = format!("\"{}\"", "\u{e9}".repeat((limits::MAX_BODY_BYTES - 2) / 2));
    append_messages(&*log, &lobby_channel(), 5, &body).await;
    let slice =
        log.read(&lobby_channel(), LogRange::After(Offset::START), 10, limits::MAX_PAGE_BYTES * 2).await.expect("read");
    assert_eq!(entry_offsets(&slice.entries), [1, 2, 3, 4, 5], "all messages are stored");
    assert!(slice.entries.iter().all(|entry| entry.body.get() == body), "bodies are stored byte for byte");
}

/// Channels with the same name in two tenants share neither entries nor ids.
pub async fn tenants_are_isolated(log: Arc<dyn MessageLog>) {
    let other_tenant = channel_from_key("other/room:lobby");
    log.append(append_request(&lobby_channel(), "alice", "m1", "1")).await.expect("append");
    let appended = log.append(append_request(&other_tenant, "alice", "m1", "2")).await.expect("append");
    assert_eq!(
        (appended.position.offset, appended.duplicate),
        (Offset(1), false),
        "the first message of the other tenant"
    );
    let slice = log.read(&lobby_channel(), LogRange::Before(None), 10, 1_000).await.expect("read");
    assert_eq!(slice.entries.len(), 1, "tenants do not share entries");
}

fn lobby_channel() -> Channel {
    channel_from_key("acme/room:lobby")
}

fn entry_offsets(entries: &[crate::ports::LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.offset.0).collect()
}

async fn append_messages(log: &dyn MessageLog, to: &Channel, count: u64, body: &str) {
    for number in 1..=count {
        log.append(append_request(to, "alice", &format!("m{number}"), body)).await.expect("append");
    }
}
