//! SIGTERM: all clients are asked to reconnect, every `$disconnect` runs, and the exit code confirms that no
//! connection was left.

use serde_json::json;
use tests::client::type_of;
use tests::server::TwinwayServer;
use tests::world::TokenClaims;

use super::dial;

#[tokio::test]
async fn clients_are_drained_in_batches_and_the_exit_is_clean() {
    // Batches of one connection, far enough apart for the second client to receive the first one's `offline`
    // presence.
    let launch = TwinwayServer::launch()
        .with_env("TWINWAY_DRAIN_BATCH_SIZE", 1)
        .with_env("TWINWAY_DRAIN_BATCH_INTERVAL", "700ms");
    let mut server = launch.start().await;
    let mut clients = Vec::new();
    for name in ["alice", "bob"] {
        let mut client = dial(&server, &TokenClaims::user(name)).open_and_confirm().await;
        client.join_channels("join", &["room:lobby"]).await;
        client.send_to_channel("room:lobby", format!("{name} was here")).await;
        clients.push(client);
    }
    server.terminate().await;
    let mut ready = tests::eventually!("the server to report that it is not ready", {
        let reply = server.ops_client().get("/ready").await;
        (reply.status == 503).then_some(reply.json())
    });
    assert_eq!(ready["status"].take(), "draining");
    assert_eq!(server.ops_client().get("/health").await.status, 200, "a draining server is alive");
    let mut offline = 0;
    for client in &mut clients {
        let reconnect = client.next_of_type("reconnect").await;
        assert_eq!(reconnect["withinMs"], 700);
        let close = client.wait_closed().await;
        assert_eq!((close.code, close.reason.as_str()), (1012, "Service restart"));
        while let Some(frame) = client.pop_unread() {
            offline += usize::from(type_of(&frame) == "presence" && frame["state"] == "offline");
        }
    }
    assert_eq!(offline, 1, "the client drained last receives the other's offline presence");
    let exit = server.wait_exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("\"drain complete\""), "{}", exit.stderr);

    // No message is lost: a client that reconnects resumes.
    server.restart().await;
    let seen = clients.remove(0).drop_abruptly();
    let mut alice = dial(&server, &TokenClaims::user("alice")).with_received_state(seen).open().await;
    let resumed = alice.resume(&["room:lobby"]).await;
    assert_eq!(resumed["channels"]["room:lobby"]["offset"], 2);
    alice.close().await;
}

#[tokio::test]
async fn messages_sent_before_the_signal_are_kept() {
    let mut server = TwinwayServer::launch().start().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    let frames =
        (0..200).map(|number| json!({"action": "send", "id": format!("m{number}"), "body": number}).to_string());
    alice.send_all(frames).await;
    server.terminate().await;
    let close = alice.wait_closed().await;
    assert_eq!(close.code, 1012);
    let mut acks = 0;
    while let Some(frame) = alice.pop_unread() {
        acks += u64::from(type_of(&frame) == "ack");
    }
    assert_eq!(server.wait_exit().await.code, Some(0));
    server.restart().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    let history = alice.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    let head = history["head"].as_u64().unwrap();
    assert!(head >= acks, "{acks} messages were acknowledged, {head} are in the log");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let mut server = TwinwayServer::launch().in_memory().with_env("TWINWAY_DRAIN_DELAY", "60s").start().await;
    let bystander = dial(&server, &TokenClaims::user("bystander")).open_and_confirm().await;
    server.terminate().await;
    server.wait_for_log("drain started").await;
    assert_eq!(server.stop().await.code, Some(75));
    drop(bystander);
}
