//! The close table, by the TM and DC rows of the catalogue.

use std::collections::HashSet;

use super::*;

fn client(code: u16, reason: &str) -> CloseCause {
    CloseCause::Client { code, reason: reason.to_owned() }
}

fn all_causes() -> Vec<CloseCause> {
    use CloseCause::*;
    let served = [
        Idle,
        LifetimeReached,
        Deleted,
        BinaryFrame,
        FrameTooBig,
        MessageTooBig,
        ProtocolError,
        InvalidUtf8,
        InvalidDeflate,
    ];
    let ours = [SlowConsumer, ServiceRestart, Internal, TokenExpired, Kicked, ConnectionLost, ClientWithoutStatus];
    served.into_iter().chain(ours).chain([client(1000, "")]).collect()
}

#[test]
fn every_cause_has_its_own_row() {
    let names: HashSet<_> = all_causes().iter().map(CloseCause::name).collect();
    assert_eq!(names.len(), CLOSE_TABLE.len());
    assert!(CLOSE_TABLE.iter().all(|row| names.contains(row.name)));
}

/// Returns the table under "Close codes" of the protocol page: code, cause, automatic reconnect.
fn documented_rows() -> Vec<(u16, &'static str, &'static str)> {
    let page = include_str!("../../../../docs/PROTOCOL.md");
    let section = page.split_once("\n## Close codes").unwrap().1;
    let cells = |line: &'static str| -> Option<(u16, &str, &str)> {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse().ok()?, cells.next()?, cells.next()?))
    };
    section.lines().filter_map(cells).collect()
}

#[test]
fn the_protocol_page_has_exactly_the_rows_of_the_table() {
    let documented = documented_rows();
    for row in CLOSE_TABLE {
        let found = documented.iter().find(|(code, ..)| *code == row.code);
        let (_, when, advice) = found.unwrap_or_else(|| panic!("the page has no row {}", row.code));
        assert!(
            when.contains(row.description),
            "{}: the page says {when:?}, the table {:?}",
            row.code,
            row.description
        );
        assert_eq!(when.starts_with("(never sent)"), !row.sends_frame && row.name != "client", "{}", row.code);
        let expected = match row.reconnect {
            ReconnectPolicy::Immediate => "at once, with jitter",
            ReconnectPolicy::Backoff => "after a growing delay",
            ReconnectPolicy::Never => "no",
        };
        assert!(advice.starts_with(expected), "{}: {advice:?}", row.code);
    }
    let codes: HashSet<_> = CLOSE_TABLE.iter().map(|row| row.code).collect();
    assert!(documented.iter().all(|(code, ..)| codes.contains(code)) && documented.len() == codes.len());
}

#[test]
fn known_codes_and_texts_are_api_gateways() {
    assert_eq!(CloseCause::ClientWithoutStatus.disconnect_status(), (1005, "Client-side close frame status not set"));
    assert_eq!(CloseCause::Idle.close_frame(), Some((1001, "Going away")));
    assert_eq!(CloseCause::Idle.disconnect_status(), (1001, "Going away"));
    assert_eq!(CloseCause::LifetimeReached.disconnect_status(), (1001, "Going away"));
    assert_eq!(CloseCause::Deleted.disconnect_status(), (1000, "Connection Closed Normally"));
    assert_eq!(CloseCause::BinaryFrame.close_frame().map(|(code, _)| code), Some(1003));
    assert_eq!(CloseCause::FrameTooBig.close_frame().map(|(code, _)| code), Some(1009));
    assert_eq!(CloseCause::ConnectionLost.disconnect_status().0, 1006);
}

#[test]
fn dc_10_a_clients_code_and_reason_are_reported_as_sent() {
    assert_eq!(client(1001, "").disconnect_status(), (1001, ""));
    assert_eq!(client(4001, "bye").disconnect_status(), (4001, "bye"));
    assert_eq!(client(4001, "bye").close_frame(), None);
}

#[test]
fn close_frames_comply_with_rfc_6455() {
    for (code, reason) in all_causes().iter().filter_map(CloseCause::close_frame) {
        assert!(reason.len() <= 123 && !matches!(code, 1004..=1006 | 1015), "{code} {reason}");
    }
    assert_eq!((CloseCause::ConnectionLost.close_frame(), CloseCause::ClientWithoutStatus.close_frame()), (None, None));
}

#[test]
fn clients_reconnect_automatically_only_when_that_can_succeed() {
    assert_eq!(CloseCause::ServiceRestart.reconnect_policy(), ReconnectPolicy::Immediate);
    assert_eq!(CloseCause::SlowConsumer.reconnect_policy(), ReconnectPolicy::Backoff);
    assert_eq!(CloseCause::TokenExpired.reconnect_policy(), ReconnectPolicy::Never);
    assert_eq!(CloseCause::MessageTooBig.reconnect_policy(), ReconnectPolicy::Never);
}
