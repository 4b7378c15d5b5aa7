//! SIGTERM: everybody is told to come back elsewhere, every `$disconnect` runs, and the exit code says that nothing was
//! left.

use serde_json::json;
use tests::client::type_of;
use tests::server::Server;
use tests::world::Grant;

use super::dial;

#[tokio::test]
async fn clients_are_sent_away_in_waves_and_the_exit_is_clean() {
    // One connection a wave, far enough apart for the second to see the first one's going.
    let launch = Server::launch().with("TWINWAY_DRAIN_WAVE_SIZE", 1).with("TWINWAY_DRAIN_WAVE_INTERVAL", "700ms");
    let mut server = launch.start().await;
    let mut people = Vec::new();
    for name in ["alice", "bob"] {
        let mut person = dial(&server, &Grant::user(name)).arrive().await;
        person.enter("join", &["room:lobby"]).await;
        person.say("room:lobby", format!("{name} was here")).await;
        people.push(person);
    }
    server.ask_to_stop().await;
    let mut ready = tests::eventually!("the server to say that it is not ready", {
        let reply = server.operator().get("/ready").await;
        (reply.status == 503).then_some(reply.json())
    });
    assert_eq!(ready["status"].take(), "draining");
    assert_eq!(server.operator().get("/health").await.status, 200, "a draining server is alive");
    let mut goings = 0;
    for person in &mut people {
        let reconnect = person.next_of("reconnect").await;
        assert_eq!(reconnect["withinMs"], 700);
        let ending = person.closed().await;
        assert_eq!((ending.code, ending.reason.as_str()), (1012, "Service restart"));
        while let Some(frame) = person.unread() {
            goings += usize::from(type_of(&frame) == "presence" && frame["state"] == "offline");
        }
    }
    assert_eq!(goings, 1, "who is sent away last has to see the other's going");
    let exit = server.ended().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("\"drained\""), "{}", exit.stderr);

    // Nothing of it is lost: who comes back resumes.
    server.start_again().await;
    let seen = people.remove(0).vanish();
    let mut alice = dial(&server, &Grant::user("alice")).having(seen).open().await;
    let resumed = alice.resume(&["room:lobby"]).await;
    assert_eq!(resumed["channels"]["room:lobby"]["offset"], 2);
    alice.close().await;
}

#[tokio::test]
async fn what_a_client_had_sent_before_the_signal_is_kept() {
    let mut server = Server::launch().start().await;
    let mut alice = dial(&server, &Grant::user("alice")).arrive().await;
    let frames =
        (0..200).map(|number| json!({"action": "send", "id": format!("m{number}"), "body": number}).to_string());
    alice.send_all(frames).await;
    server.ask_to_stop().await;
    let ending = alice.closed().await;
    assert_eq!(ending.code, 1012);
    let mut acks = 0;
    while let Some(frame) = alice.unread() {
        acks += u64::from(type_of(&frame) == "ack");
    }
    assert_eq!(server.ended().await.code, Some(0));
    server.start_again().await;
    let mut alice = dial(&server, &Grant::user("alice")).arrive().await;
    let history = alice.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    let head = history["head"].as_u64().unwrap();
    assert!(head >= acks, "{acks} messages were acknowledged and {head} are there");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::launch().in_memory().with("TWINWAY_DRAIN_DELAY", "60s").start().await;
    let bystander = dial(&server, &Grant::user("bystander")).arrive().await;
    server.ask_to_stop().await;
    server.logged("draining").await;
    assert_eq!(server.stop().await.code, Some(75));
    drop(bystander);
}
