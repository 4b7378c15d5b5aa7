//! `kill -9`, again and again, while clients send as fast as acknowledgements allow.
//!
//! Invariant under test: what was acknowledged is in the log, at the offset that was told, with the body that was sent;
//! offsets have no holes; and a message that was not acknowledged is there once or not at all, and once when repeated.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::client::http::HttpCaller;
use tests::client::{Client, type_of};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};
use tokio::sync::watch;
use tokio::task::JoinSet;

const ROUNDS: u64 = 24;
/// Writers, two to a channel, so that the order of one is decided between connections.
const WRITERS: [(&str, &str); 4] =
    [("anna", "room:one"), ("bert", "room:one"), ("cleo", "room:two"), ("dora", "room:two")];
/// A round lasts until so many messages were acknowledged, and then some more by the time the signal arrives.
const MESSAGES_A_ROUND: u64 = 60;

/// What one channel is known to hold: by offset, who wrote which body under which id.
type Ledger = BTreeMap<&'static str, BTreeMap<u64, Written>>;

/// A message, as its writer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    user: &'static str,
    id: String,
}

/// What a writer knows when its server was killed.
struct Report {
    channel: &'static str,
    acknowledged: Vec<(u64, Written)>,
    in_flight: Written,
}

fn body_of(written: &Written) -> Value {
    json!({"by": written.user, "id": written.id})
}

fn send_of(channel: &str, written: &Written) -> Value {
    json!({"action": "send", "to": channel, "id": written.id, "body": body_of(written)})
}

async fn enter(server: &TwinwayServer, user: &str, channel: &str) -> Client {
    let grant = TokenClaims::user(user);
    let mut client = Client::dial(&server.socket_url(), user).with_token(&sign_token(SECRET, &grant)).open().await;
    client.join_channels("join", &[channel]).await;
    client
}

/// Sends until the connection breaks.
async fn write(
    mut client: Client,
    user: &'static str,
    channel: &'static str,
    round: u64,
    count: watch::Sender<u64>,
) -> Report {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let written = Written { user, id: format!("{user}-{round}-{number}") };
        if !client.try_send(&send_of(channel, &written)).await {
            return Report { channel, acknowledged, in_flight: written };
        }
        let offset = loop {
            match client.read().await {
                Ok(frame) if type_of(&frame) == "ack" && frame["id"] == written.id.as_str() => {
                    break frame["offset"].as_u64();
                }
                Ok(frame) => assert_ne!(type_of(&frame), "error", "{frame}"),
                Err(_) => return Report { channel, acknowledged, in_flight: written },
            }
        };
        acknowledged.push((offset.expect("an ack has an offset"), written));
        count.send_modify(|count| *count += 1);
    }
    unreachable!("the loop ends with the connection")
}

/// One round: everybody writes, and the server is killed in the middle.
async fn round(server: &mut TwinwayServer, round: u64) -> Vec<Report> {
    let (count, mut counted) = watch::channel(0);
    let mut writers = JoinSet::new();
    for (user, channel) in WRITERS {
        let client = enter(server, user, channel).await;
        writers.spawn(write(client, user, channel, round, count.clone()));
    }
    // Not always the same number, so that the kill meets every part of the work.
    let enough = MESSAGES_A_ROUND + 7 * (round % 11);
    let waiting = counted.wait_for(|count| *count >= enough);
    drop(tests::eventually::with_timeout("messages to be acknowledged", waiting).await.expect("writers write"));
    server.kill().await;
    tests::eventually::with_timeout("the writers to notice", writers.join_all()).await
}

/// Everything that a channel holds behind an offset, in order.
async fn read(backend: &HttpCaller, channel: &str, mut after: u64) -> Vec<(u64, Written)> {
    let mut entries = Vec::new();
    loop {
        let path = format!("/v1/channels/{}/history?after={after}", channel.replace(':', "%3A"));
        let page = backend.get(&path).await.expect_ok();
        for entry in page["messages"].as_array().unwrap() {
            let user = WRITERS.iter().find(|(user, _)| entry["from"]["user"] == *user).expect("a writer wrote it").0;
            let written = Written { user, id: entry["id"].as_str().unwrap().to_owned() };
            assert_eq!(entry["body"], body_of(&written), "a body is not what was sent");
            after = entry["offset"].as_u64().unwrap();
            entries.push((after, written));
        }
        if page["more"] == false {
            return entries;
        }
    }
}

/// Compares what the log gained in a round with what its writers were told, and repeats what they were not told.
async fn verify(server: &TwinwayServer, ledger: &mut Ledger, reports: Vec<Report>) {
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("auditor")));
    for channel in ["room:one", "room:two"] {
        let known = ledger.entry(channel).or_default();
        let head = known.last_key_value().map_or(0, |(offset, _)| *offset);
        let gained: BTreeMap<u64, Written> = read(&backend, channel, head).await.into_iter().collect();
        assert!(
            gained.keys().copied().eq(head + 1..=head + gained.len() as u64),
            "{channel} has a hole: {:?}",
            gained.keys()
        );
        let mut acknowledged = BTreeMap::new();
        for report in reports.iter().filter(|report| report.channel == channel) {
            acknowledged.extend(report.acknowledged.iter().cloned());
        }
        for (offset, written) in &acknowledged {
            assert_eq!(gained.get(offset), Some(written), "{channel} {offset} was acknowledged");
        }
        let in_flight: Vec<_> =
            reports.iter().filter(|report| report.channel == channel).map(|report| &report.in_flight).collect();
        let unasked = gained.iter().filter(|(offset, _)| !acknowledged.contains_key(offset));
        for (offset, written) in unasked {
            assert!(in_flight.contains(&written), "{channel} {offset} is {written:?}, which nobody waited for");
        }
        known.extend(gained);
        for written in in_flight {
            repeat(server, channel, known, written).await;
        }
    }
}

/// Sends again what was not acknowledged: it gets the place that it has, or the next one.
async fn repeat(server: &TwinwayServer, channel: &str, known: &mut BTreeMap<u64, Written>, written: &Written) {
    let mut client = enter(server, written.user, channel).await;
    let ack = client.request(send_of(channel, written)).await;
    let next = known.last_key_value().map_or(1, |(offset, _)| offset + 1);
    let expected = known.iter().find(|(_, known)| *known == written).map_or(next, |(offset, _)| *offset);
    assert_eq!((type_of(&ack), &ack["offset"]), ("ack", &json!(expected)), "{written:?} again");
    known.insert(expected, written.clone());
    client.close().await;
}

#[tokio::test]
async fn no_acknowledged_message_is_missing_after_a_kill() {
    let mut server = TwinwayServer::launch().with_env("RUST_LOG", "info").start().await;
    let mut ledger = Ledger::new();
    let mut acknowledged = 0;
    for number in 0..ROUNDS {
        let reports = round(&mut server, number).await;
        acknowledged += reports.iter().map(|report| report.acknowledged.len()).sum::<usize>();
        server.restart().await;
        verify(&server, &mut ledger, reports).await;
    }
    // At the end everything is read once more, from the first message of the first round.
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("auditor")));
    let mut kept = 0;
    for (channel, known) in &ledger {
        let entries: BTreeMap<u64, Written> = read(&backend, channel, 0).await.into_iter().collect();
        assert_eq!(&entries, known, "{channel} is not what it was round by round");
        kept += entries.len();
    }
    println!("{ROUNDS} kills, {acknowledged} messages acknowledged, {kept} in the log, none missing");
    assert_eq!(server.stop().await.code, Some(0));
}
