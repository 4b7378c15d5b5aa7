use handlers::channel::Offset;

use super::*;

fn at(epoch: &str, offset: u64) -> Position {
    Position { epoch: Epoch(epoch.into()), offset: Offset(offset) }
}

fn item(text: &'static str) -> OrderedFrame {
    OrderedFrame { priority: Priority::Direct, frame: OutboundFrame { text: text.to_owned().into(), placement: None } }
}

fn passed(accepted: AcceptOutcome) -> Vec<u64> {
    match accepted {
        AcceptOutcome::Deliver(items) => items.into_iter().map(|(offset, _)| offset).collect(),
        AcceptOutcome::Buffered { .. } | AcceptOutcome::OtherEpoch { .. } | AcceptOutcome::Duplicate => Vec::new(),
    }
}

fn connection(byte: u8) -> GatewayId {
    GatewayId::for_connection(0, u32::from(byte), 7)
}

#[test]
fn early_messages_wait_for_the_hole_before_them() {
    let mut sequence = ChannelOrder::default();
    assert_eq!(passed(sequence.accept_frame(&at("e", 5), item("5"))), [5]);
    assert!(matches!(sequence.accept_frame(&at("e", 7), item("7")), AcceptOutcome::Buffered { missing: 6 }));
    assert!(matches!(sequence.accept_frame(&at("e", 8), item("8")), AcceptOutcome::Buffered { missing: 6 }));
    assert_eq!(passed(sequence.accept_frame(&at("e", 6), item("6"))), [6, 7, 8]);
    assert_eq!(sequence.first_missing(), None);
}

#[test]
fn a_repeated_message_is_dropped_and_one_from_before_the_start_is_not() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 5), item("5"));
    assert!(matches!(sequence.accept_frame(&at("e", 5), item("5")), AcceptOutcome::Duplicate));
    assert_eq!(passed(sequence.accept_frame(&at("e", 4), item("4"))), [4]);
}

#[test]
fn a_hole_that_the_log_lost_is_skipped() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 1), item("1"));
    sequence.accept_frame(&at("e", 9), item("9"));
    let passed: Vec<u64> = sequence.skip_to(9).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(passed, [9]);
}

#[test]
fn waiting_is_bounded() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 1), item("1"));
    let last = 5 + MAX_BUFFERED_FRAMES as u64;
    for offset in 3..=last {
        assert!(matches!(sequence.accept_frame(&at("e", offset), item("x")), AcceptOutcome::Buffered { missing: 2 }));
    }
    assert_eq!(passed(sequence.accept_frame(&at("e", 2), item("2"))).len(), 1 + MAX_BUFFERED_FRAMES);
    assert_eq!(sequence.first_missing(), Some(last - 2), "the log has what there was no room for");
    for offset in last - 2..=last {
        assert_eq!(passed(sequence.accept_frame(&at("e", offset), item("x"))), [offset]);
    }
    assert_eq!(sequence.first_missing(), None);
}

#[test]
fn a_hold_withholds_until_what_was_passed_is_covered() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 1), item("1"));
    let (held, live) = (connection(1), connection(2));
    sequence.pause_delivery(held);
    assert!(sequence.is_suppressed_for(held, 2) && !sequence.is_suppressed_for(live, 2));
    sequence.accept_frame(&at("e", 2), item("2"));
    assert_eq!(sequence.resume_delivery(held, &at("e", 1)), ResumeOutcome::HeadAdvanced(Offset(2)));
    assert!(sequence.is_suppressed_for(held, 3));
    assert_eq!(sequence.resume_delivery(held, &at("e", 2)), ResumeOutcome::Live);
    assert!(!sequence.is_suppressed_for(held, 3));
}

#[test]
fn what_the_log_had_before_the_channel_passed_it_is_not_sent_twice() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 1), item("1"));
    let resumed = connection(1);
    sequence.pause_delivery(resumed);
    assert_eq!(sequence.resume_delivery(resumed, &at("e", 3)), ResumeOutcome::Live);
    assert!(sequence.is_suppressed_for(resumed, 2) && sequence.is_suppressed_for(resumed, 3));
    assert!(!sequence.is_suppressed_for(resumed, 4));
}

#[test]
fn the_first_release_sets_the_start() {
    let mut sequence = ChannelOrder::default();
    let joined = connection(1);
    sequence.pause_delivery(joined);
    assert_eq!(sequence.resume_delivery(joined, &at("e", 62)), ResumeOutcome::Live);
    assert!(matches!(sequence.accept_frame(&at("e", 64), item("64")), AcceptOutcome::Buffered { missing: 63 }));
    assert_eq!(passed(sequence.accept_frame(&at("e", 63), item("63"))), [63, 64]);
    // One from before may still be on its way to others.
    assert_eq!(passed(sequence.accept_frame(&at("e", 62), item("62"))), [62]);
    assert!(sequence.is_suppressed_for(joined, 62) && !sequence.is_suppressed_for(joined, 63));
}

#[test]
fn a_repeat_from_before_the_start_does_not_reach_who_has_it() {
    let mut sequence = ChannelOrder::default();
    let (first, second, stranger) = (connection(1), connection(2), connection(3));
    sequence.resume_delivery(first, &at("e", 400));
    sequence.accept_frame(&at("e", 401), item("401"));
    assert_eq!(sequence.resume_delivery(second, &at("e", 401)), ResumeOutcome::Live);
    assert_eq!(passed(sequence.accept_frame(&at("e", 400), item("400"))), [400]);
    assert!(
        sequence.is_suppressed_for(first, 400)
            && sequence.is_suppressed_for(second, 400)
            && !sequence.is_suppressed_for(stranger, 400)
    );
    assert!(matches!(sequence.accept_frame(&at("e", 100), item("100")), AcceptOutcome::Duplicate));
}

#[test]
fn what_is_passed_on_late_is_passed_on_once() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 5), item("5"));
    assert_eq!(passed(sequence.accept_frame(&at("e", 4), item("4"))), [4]);
    assert!(matches!(sequence.accept_frame(&at("e", 4), item("4")), AcceptOutcome::Duplicate));
}

#[test]
fn the_end_of_the_log_shows_what_was_lost_without_a_successor() {
    let mut sequence = ChannelOrder::default();
    assert_eq!(
        sequence.observe_head(&at("e", 3)),
        None,
        "nothing was passed on yet, so nothing is known to be missing"
    );
    sequence.accept_frame(&at("e", 3), item("3"));
    assert_eq!(sequence.observe_head(&at("e", 3)), None);
    assert_eq!(sequence.observe_head(&at("e", 5)), Some(4));
    assert_eq!(passed(sequence.accept_frame(&at("e", 4), item("4"))), [4]);
    assert_eq!(sequence.first_missing(), Some(5));
    assert_eq!(passed(sequence.accept_frame(&at("e", 5), item("5"))), [5]);
    assert_eq!(sequence.first_missing(), None);
    assert_eq!(sequence.observe_head(&at("e", 4)), None, "an end that was read earlier says nothing new");
}

#[test]
fn a_log_that_began_anew_is_new_from_its_first_message() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 7), item("7"));
    sequence.accept_frame(&at("e", 9), item("9"));
    assert_eq!(
        sequence.observe_head(&at("f", 2)),
        Some(8),
        "only the log can tell which of the two is the present one"
    );
    let (left_out, waited) = sequence.switch_epoch(&at("f", 2));
    let waited: Vec<u64> = waited.into_iter().map(|(offset, _)| offset).collect();
    assert_eq!((left_out, waited, sequence.first_missing()), (0, vec![9], Some(1)));
    assert_eq!(passed(sequence.accept_frame(&at("f", 2), item("2"))), [] as [u64; 0]);
    assert_eq!(passed(sequence.accept_frame(&at("f", 1), item("1"))), [1, 2]);
    assert_eq!(sequence.first_missing(), None);
}

#[test]
fn a_message_of_another_epoch_is_left_to_the_log() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 7), item("7"));
    for offset in [4, 3] {
        let accepted = sequence.accept_frame(&at("f", offset), item("?"));
        assert!(matches!(accepted, AcceptOutcome::OtherEpoch { missing: 8 }), "{accepted:?}");
    }
    assert_eq!(passed(sequence.accept_frame(&at("e", 8), item("8"))), [8], "the log may say that nothing has changed");
    // The log was read before the last of them was written to it.
    assert_eq!(sequence.switch_epoch(&at("f", 3)).0, 0);
    (1..=3).for_each(|offset| assert_eq!(passed(sequence.accept_frame(&at("f", offset), item("f"))), [offset]));
    assert_eq!(sequence.first_missing(), Some(4));
}

#[test]
fn a_log_that_goes_on_in_another_epoch_is_not_sent_again_from_its_start() {
    let mut sequence = ChannelOrder::default();
    sequence.accept_frame(&at("e", 5_000), item("5000"));
    assert_eq!(sequence.switch_epoch(&at("e-2", 5_004)).0, 5_000 - REPLAY_AFTER_FAILOVER);
    assert_eq!(sequence.first_missing(), Some(5_001 - REPLAY_AFTER_FAILOVER));
    assert_eq!(
        sequence.switch_epoch(&at("e-3", 4_000)).0,
        4_000 - MAX_REPLAY_AFTER_LOSS,
        "a loss of much is another matter"
    );
}
