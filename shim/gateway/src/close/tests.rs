//! The close table by the rows TM and DC.

use std::collections::HashSet;

use super::*;

fn client(code: u16, reason: &str) -> CloseCause {
    CloseCause::Client { code, reason: reason.to_owned() }
}

fn all() -> Vec<CloseCause> {
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
    let names: HashSet<_> = all().iter().map(CloseCause::name).collect();
    assert_eq!(names.len(), TABLE.len());
    assert!(TABLE.iter().all(|row| names.contains(row.name)));
}

/// The table under "Close codes" in the protocol page: code, cause, advice.
fn documented() -> Vec<(u16, &'static str, &'static str)> {
    let page = include_str!("../../../../docs/PROTOCOL.md");
    let section = page.split_once("\n## Close codes").unwrap().1;
    let cells = |line: &'static str| -> Option<(u16, &str, &str)> {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse().ok()?, cells.next()?, cells.next()?))
    };
    section.lines().filter_map(cells).collect()
}

#[test]
fn the_protocol_page_has_every_row_of_the_table_and_no_other() {
    let documented = documented();
    for row in TABLE {
        let found = documented.iter().find(|(code, ..)| *code == row.code);
        let (_, when, advice) = found.unwrap_or_else(|| panic!("the page has no row {}", row.code));
        assert!(when.contains(row.when), "{}: the page says {when:?}, the table {:?}", row.code, row.when);
        assert_eq!(when.starts_with("(never sent)"), !row.sends_frame && row.name != "client", "{}", row.code);
        let expected = match row.reconnect {
            Reconnect::Now => "at once, with jitter",
            Reconnect::Backoff => "after a growing delay",
            Reconnect::No => "no",
        };
        assert!(advice.starts_with(expected), "{}: {advice:?}", row.code);
    }
    let codes: HashSet<_> = TABLE.iter().map(|row| row.code).collect();
    assert!(documented.iter().all(|(code, ..)| codes.contains(code)) && documented.len() == codes.len());
}

#[test]
fn known_codes_and_texts_are_api_gateways() {
    assert_eq!(CloseCause::ClientWithoutStatus.disconnect(), (1005, "Client-side close frame status not set"));
    assert_eq!(CloseCause::Idle.frame(), Some((1001, "Going away")));
    assert_eq!(CloseCause::Idle.disconnect(), (1001, "Going away"));
    assert_eq!(CloseCause::LifetimeReached.disconnect(), (1001, "Going away"));
    assert_eq!(CloseCause::Deleted.disconnect(), (1000, "Connection Closed Normally"));
    assert_eq!(CloseCause::BinaryFrame.frame().map(|(code, _)| code), Some(1003));
    assert_eq!(CloseCause::FrameTooBig.frame().map(|(code, _)| code), Some(1009));
    assert_eq!(CloseCause::ConnectionLost.disconnect().0, 1006);
}

#[test]
fn dc_10_a_clients_code_and_reason_are_reported_as_sent() {
    assert_eq!(client(1001, "").disconnect(), (1001, ""));
    assert_eq!(client(4001, "bye").disconnect(), (4001, "bye"));
    assert_eq!(client(4001, "bye").frame(), None);
}

#[test]
fn frames_can_be_sent_by_rfc_6455() {
    for (code, reason) in all().iter().filter_map(CloseCause::frame) {
        assert!(reason.len() <= 123 && !matches!(code, 1004..=1006 | 1015), "{code} {reason}");
    }
    assert_eq!((CloseCause::ConnectionLost.frame(), CloseCause::ClientWithoutStatus.frame()), (None, None));
}

#[test]
fn clients_come_back_by_themselves_only_when_that_helps() {
    assert_eq!(CloseCause::ServiceRestart.reconnect(), Reconnect::Now);
    assert_eq!(CloseCause::SlowConsumer.reconnect(), Reconnect::Backoff);
    assert_eq!(CloseCause::TokenExpired.reconnect(), Reconnect::No);
    assert_eq!(CloseCause::MessageTooBig.reconnect(), Reconnect::No);
}
