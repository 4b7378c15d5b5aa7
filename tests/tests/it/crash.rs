//! Repeated `kill -9` while clients send as fast as acknowledgements allow.
//!
//! Guarantees under test: an acknowledged message is in the log at its acknowledged offset with its body; offsets
//! have no gaps; a message without an acknowledgement is in the log at most once, and exactly once after it is
//! repeated.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::client::http::HttpCaller;
use tests::client::{Client, type_of};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};
use tokio::sync::watch;
use tokio::task::JoinSet;

const ROUNDS: u64 = 24;
/// Writers, two per channel, so that the order of a channel is decided between connections.
const WRITERS: [(&str, &str); 4] =
    [("anna", "room:one"), ("bert", "room:one"), ("cleo", "room:two"), ("dora", "room:two")];
/// Number of acknowledged messages after which a round kills the server.
const MESSAGES_A_ROUND: u64 = 60;

/// Known content of the channels: message by offset.
type KnownMessages = BTreeMap<&'static str, BTreeMap<u64, SentMessage>>;

/// Message as known to its writer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SentMessage {
    user: &'static str,
    id: String,
}

/// State of a writer when its server was killed.
struct Report {
    channel: &'static str,
    acknowledged: Vec<(u64, SentMessage)>,
    in_flight: SentMessage,
}

fn body_of(written: &SentMessage) -> Value {
    json!({"by": written.user, "id": written.id})
}

fn send_of(channel: &str, written: &SentMessage) -> Value {
    json!({"action": "send", "to": channel, "id": written.id, "body": body_of(written)})
}

async fn join_channel(server: &TwinwayServer, user: &str, channel: &str) -> Client {
    let claims = TokenClaims::user(user);
    let mut client = Client::dial(&server.socket_url(), user).with_token(&sign_token(SECRET, &claims)).open().await;
    client.join_channels("join", &[channel]).await;
    client
}

/// Sends messages until the connection breaks.
async fn write(
    mut client: Client,
    user: &'static str,
    channel: &'static str,
    round: u64,
    count: watch::Sender<u64>,
) -> Report {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let written = SentMessage { user, id: format!("{user}-{round}-{number}") };
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
    unreachable!("the loop ends when the connection breaks")
}

/// Runs one round: all clients write, and the server is killed in between.
async fn round(server: &mut TwinwayServer, round: u64) -> Vec<Report> {
    let (count, mut counted) = watch::channel(0);
    let mut writers = JoinSet::new();
    for (user, channel) in WRITERS {
        let client = join_channel(server, user, channel).await;
        writers.spawn(write(client, user, channel, round, count.clone()));
    }
    // A varying number, so that the kill hits different steps of the work.
    let enough = MESSAGES_A_ROUND + 7 * (round % 11);
    let waiting = counted.wait_for(|count| *count >= enough);
    drop(tests::eventually::with_timeout("messages to be acknowledged", waiting).await.expect("writers write"));
    server.kill().await;
    tests::eventually::with_timeout("the writers to stop", writers.join_all()).await
}

/// Returns all messages of a channel after an offset, in order.
async fn read(backend: &HttpCaller, channel: &str, mut after: u64) -> Vec<(u64, SentMessage)> {
    let mut entries = Vec::new();
    loop {
        let path = format!("/v1/channels/{}/history?after={after}", channel.replace(':', "%3A"));
        let page = backend.get(&path).await.expect_ok();
        for entry in page["messages"].as_array().unwrap() {
            let user = WRITERS.iter().find(|(user, _)| entry["from"]["user"] == *user).expect("a writer sent it").0;
            let written = SentMessage { user, id: entry["id"].as_str().unwrap().to_owned() };
            assert_eq!(entry["body"], body_of(&written), "a body has changed");
            after = entry["offset"].as_u64().unwrap();
            entries.push((after, written));
        }
        if page["more"] == false {
            return entries;
        }
    }
}

/// Compares the new messages of a round with the acknowledgements of its writers, and repeats the unacknowledged
/// ones.
async fn verify(server: &TwinwayServer, known_messages: &mut KnownMessages, reports: Vec<Report>) {
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("auditor")));
    for channel in ["room:one", "room:two"] {
        let known = known_messages.entry(channel).or_default();
        let head = known.last_key_value().map_or(0, |(offset, _)| *offset);
        let gained: BTreeMap<u64, SentMessage> = read(&backend, channel, head).await.into_iter().collect();
        assert!(
            gained.keys().copied().eq(head + 1..=head + gained.len() as u64),
            "{channel} has a gap: {:?}",
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
        let unacknowledged = gained.iter().filter(|(offset, _)| !acknowledged.contains_key(offset));
        for (offset, written) in unacknowledged {
            assert!(in_flight.contains(&written), "{channel} offset {offset} is {written:?}, which no writer sent");
        }
        known.extend(gained);
        for written in in_flight {
            repeat(server, channel, known, written).await;
        }
    }
}

/// Repeats an unacknowledged message: it gets the offset that it has, or the next one.
async fn repeat(server: &TwinwayServer, channel: &str, known: &mut BTreeMap<u64, SentMessage>, written: &SentMessage) {
    let mut client = join_channel(server, written.user, channel).await;
    let ack = client.request(send_of(channel, written)).await;
    let next = known.last_key_value().map_or(1, |(offset, _)| offset + 1);
    let expected = known.iter().find(|(_, known)| *known == written).map_or(next, |(offset, _)| *offset);
    assert_eq!((type_of(&ack), &ack["offset"]), ("ack", &json!(expected)), "{written:?} repeated");
    known.insert(expected, written.clone());
    client.close().await;
}

#[tokio::test]
async fn no_acknowledged_message_is_missing_after_a_kill() {
    let mut server = TwinwayServer::launch().with_env("RUST_LOG", "info").start().await;
    let mut known_messages = KnownMessages::new();
    let mut acknowledged = 0;
    for number in 0..ROUNDS {
        let reports = round(&mut server, number).await;
        acknowledged += reports.iter().map(|report| report.acknowledged.len()).sum::<usize>();
        server.restart().await;
        verify(&server, &mut known_messages, reports).await;
    }
    // Finally all messages are read again from the first round on.
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("auditor")));
    let mut kept = 0;
    for (channel, known) in &known_messages {
        let entries: BTreeMap<u64, SentMessage> = read(&backend, channel, 0).await.into_iter().collect();
        assert_eq!(&entries, known, "{channel} differs from the contents checked after each round");
        kept += entries.len();
    }
    println!("{ROUNDS} kills, {acknowledged} messages acknowledged, {kept} in the log, none missing");
    assert_eq!(server.stop().await.code, Some(0));
}
