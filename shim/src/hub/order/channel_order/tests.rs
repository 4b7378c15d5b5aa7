use handlers::channel::Offset;

use super::*;

fn at(epoch: &str, offset: u64) -> Position {
    Position { epoch: Epoch(epoch.into()), offset: Offset(offset) }
}

fn frame(text: &'static str) -> OrderedFrame {
    OrderedFrame { priority: Priority::Direct, frame: OutboundFrame { text: text.to_owned().into(), placement: None } }
}

fn delivered(outcome: AcceptOutcome) -> Vec<u64> {
    match outcome {
        AcceptOutcome::Deliver(frames) => frames.into_iter().map(|(offset, _)| offset).collect(),
        AcceptOutcome::Buffered { .. } | AcceptOutcome::OtherEpoch { .. } | AcceptOutcome::Duplicate => Vec::new(),
    }
}

fn connection(byte: u8) -> GatewayId {
    GatewayId::for_connection(u64::from(byte), 7)
}

#[test]
fn early_messages_are_buffered_until_the_missing_offset_arrives() {
    let mut order = ChannelOrder::default();
    assert_eq!(delivered(order.accept_frame(&at("e", 5), frame("5"))), [5]);
    assert!(matches!(order.accept_frame(&at("e", 7), frame("7")), AcceptOutcome::Buffered { missing: 6 }));
    assert!(matches!(order.accept_frame(&at("e", 8), frame("8")), AcceptOutcome::Buffered { missing: 6 }));
    assert_eq!(delivered(order.accept_frame(&at("e", 6), frame("6"))), [6, 7, 8]);
    assert_eq!(order.first_missing(), None);
}

#[test]
fn a_repeated_message_is_dropped_and_one_from_before_the_start_is_not() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 5), frame("5"));
    assert!(matches!(order.accept_frame(&at("e", 5), frame("5")), AcceptOutcome::Duplicate));
    assert_eq!(delivered(order.accept_frame(&at("e", 4), frame("4"))), [4]);
}

#[test]
fn a_missing_range_that_the_log_lost_is_skipped() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 1), frame("1"));
    order.accept_frame(&at("e", 9), frame("9"));
    let delivered: Vec<u64> = order.skip_to(9).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(delivered, [9]);
}

#[test]
fn the_number_of_buffered_frames_is_limited() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 1), frame("1"));
    let last = 5 + MAX_BUFFERED_FRAMES as u64;
    for offset in 3..=last {
        assert!(matches!(order.accept_frame(&at("e", offset), frame("x")), AcceptOutcome::Buffered { missing: 2 }));
    }
    assert_eq!(delivered(order.accept_frame(&at("e", 2), frame("2"))).len(), 1 + MAX_BUFFERED_FRAMES);
    assert_eq!(order.first_missing(), Some(last - 2), "frames beyond the limit are left to the log");
    for offset in last - 2..=last {
        assert_eq!(delivered(order.accept_frame(&at("e", offset), frame("x"))), [offset]);
    }
    assert_eq!(order.first_missing(), None);
}

#[test]
fn delivery_stays_paused_until_the_resume_covers_the_delivered_offsets() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 1), frame("1"));
    let (paused, live) = (connection(1), connection(2));
    order.pause_delivery(paused);
    assert!(order.is_suppressed_for(paused, 2) && !order.is_suppressed_for(live, 2));
    order.accept_frame(&at("e", 2), frame("2"));
    assert_eq!(order.resume_delivery(paused, &at("e", 1)), ResumeOutcome::HeadAdvanced(Offset(2)));
    assert!(order.is_suppressed_for(paused, 3));
    assert_eq!(order.resume_delivery(paused, &at("e", 2)), ResumeOutcome::Live);
    assert!(!order.is_suppressed_for(paused, 3));
}

#[test]
fn a_message_sent_by_the_resume_is_not_delivered_again() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 1), frame("1"));
    let resumed = connection(1);
    order.pause_delivery(resumed);
    assert_eq!(order.resume_delivery(resumed, &at("e", 3)), ResumeOutcome::Live);
    assert!(order.is_suppressed_for(resumed, 2) && order.is_suppressed_for(resumed, 3));
    assert!(!order.is_suppressed_for(resumed, 4));
}

#[test]
fn the_first_resume_sets_the_start() {
    let mut order = ChannelOrder::default();
    let joined = connection(1);
    order.pause_delivery(joined);
    assert_eq!(order.resume_delivery(joined, &at("e", 62)), ResumeOutcome::Live);
    assert!(matches!(order.accept_frame(&at("e", 64), frame("64")), AcceptOutcome::Buffered { missing: 63 }));
    assert_eq!(delivered(order.accept_frame(&at("e", 63), frame("63"))), [63, 64]);
    // A message from before the start may still be in flight to other connections.
    assert_eq!(delivered(order.accept_frame(&at("e", 62), frame("62"))), [62]);
    assert!(order.is_suppressed_for(joined, 62) && !order.is_suppressed_for(joined, 63));
}

#[test]
fn a_late_message_is_suppressed_for_connections_that_received_it() {
    let mut order = ChannelOrder::default();
    let (first, second, other) = (connection(1), connection(2), connection(3));
    order.resume_delivery(first, &at("e", 400));
    order.accept_frame(&at("e", 401), frame("401"));
    assert_eq!(order.resume_delivery(second, &at("e", 401)), ResumeOutcome::Live);
    assert_eq!(delivered(order.accept_frame(&at("e", 400), frame("400"))), [400]);
    assert!(
        order.is_suppressed_for(first, 400)
            && order.is_suppressed_for(second, 400)
            && !order.is_suppressed_for(other, 400)
    );
    assert!(matches!(order.accept_frame(&at("e", 100), frame("100")), AcceptOutcome::Duplicate));
}

#[test]
fn a_late_message_is_delivered_once() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 5), frame("5"));
    assert_eq!(delivered(order.accept_frame(&at("e", 4), frame("4"))), [4]);
    assert!(matches!(order.accept_frame(&at("e", 4), frame("4")), AcceptOutcome::Duplicate));
}

#[test]
fn the_head_of_the_log_reveals_a_loss_without_a_successor() {
    let mut order = ChannelOrder::default();
    assert_eq!(order.observe_head(&at("e", 3)), None, "nothing was delivered yet, so no offset counts as missing");
    order.accept_frame(&at("e", 3), frame("3"));
    assert_eq!(order.observe_head(&at("e", 3)), None);
    assert_eq!(order.observe_head(&at("e", 5)), Some(4));
    assert_eq!(delivered(order.accept_frame(&at("e", 4), frame("4"))), [4]);
    assert_eq!(order.first_missing(), Some(5));
    assert_eq!(delivered(order.accept_frame(&at("e", 5), frame("5"))), [5]);
    assert_eq!(order.first_missing(), None);
    assert_eq!(order.observe_head(&at("e", 4)), None, "an older head has no effect");
}

#[test]
fn a_log_that_was_recreated_is_delivered_from_its_first_message() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 7), frame("7"));
    order.accept_frame(&at("e", 9), frame("9"));
    assert_eq!(order.observe_head(&at("f", 2)), Some(8), "only the log decides which of the two epochs is current");
    let (skipped_through, buffered) = order.switch_epoch(&at("f", 2));
    let buffered: Vec<u64> = buffered.into_iter().map(|(offset, _)| offset).collect();
    assert_eq!((skipped_through, buffered, order.first_missing()), (0, vec![9], Some(1)));
    assert_eq!(delivered(order.accept_frame(&at("f", 2), frame("2"))), [] as [u64; 0]);
    assert_eq!(delivered(order.accept_frame(&at("f", 1), frame("1"))), [1, 2]);
    assert_eq!(order.first_missing(), None);
}

#[test]
fn a_message_of_another_epoch_is_dropped_until_the_log_was_read() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 7), frame("7"));
    for offset in [4, 3] {
        let outcome = order.accept_frame(&at("f", offset), frame("?"));
        assert!(matches!(outcome, AcceptOutcome::OtherEpoch { missing: 8 }), "{outcome:?}");
    }
    assert_eq!(delivered(order.accept_frame(&at("e", 8), frame("8"))), [8], "the epoch may turn out to be unchanged");
    // The log was read before the last of them was appended.
    assert_eq!(order.switch_epoch(&at("f", 3)).0, 0);
    (1..=3).for_each(|offset| assert_eq!(delivered(order.accept_frame(&at("f", offset), frame("f"))), [offset]));
    assert_eq!(order.first_missing(), Some(4));
}

#[test]
fn a_log_that_continues_in_another_epoch_is_not_replayed_from_its_start() {
    let mut order = ChannelOrder::default();
    order.accept_frame(&at("e", 5_000), frame("5000"));
    assert_eq!(order.switch_epoch(&at("e-2", 5_004)).0, 5_000 - REPLAY_AFTER_FAILOVER);
    assert_eq!(order.first_missing(), Some(5_001 - REPLAY_AFTER_FAILOVER));
    assert_eq!(
        order.switch_epoch(&at("e-3", 4_000)).0,
        4_000 - MAX_REPLAY_AFTER_LOSS,
        "a large loss is replayed up to its own limit"
    );
}
