//! Frames that break the WebSocket protocol or its limits: the connection is closed with the code that says why.

use bytes::Bytes;
use serde_json::json;
use tests::client::raw::RawConnection;
use tests::server::STAGE;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::Scene;

#[tokio::test]
async fn a_frame_over_the_quota_is_closed_with_1009() {
    let scene = Scene::begin().await;
    for bytes in [40 * 1024, 10 * 1024 * 1024] {
        let mut alice = scene.user("alice").await;
        alice.send_text(&"x".repeat(bytes)).await;
        let ending = alice.wait_closed().await;
        assert_eq!((ending.code, ending.reason.as_str()), (1009, "Frame too big"), "{bytes} bytes");
    }
    scene.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"frame_too_big\"}", 2.0).await;
    scene.end().await;
}

#[tokio::test]
async fn a_message_in_frames_is_bounded_as_a_whole() {
    let scene = Scene::begin().await;
    let mut alice = scene.user("alice").await;
    let part = |position: usize, last: usize| {
        let opcode = OpCode::Data(if position == 0 { Data::Text } else { Data::Continue });
        Message::Frame(Frame::message(Bytes::from(vec![b' '; 32 * 1024]), opcode, position == last))
    };
    // 128 KiB in four frames of 32 KiB is the most that is allowed; it is only no JSON.
    for position in 0..4 {
        alice.send_message(part(position, 3)).await;
    }
    assert_eq!(alice.next_of_type("error").await["code"], "bad_json");
    for position in 0..5 {
        alice.send_message(part(position, 4)).await;
    }
    assert_eq!(alice.wait_closed().await.code, 1009);
    scene.end().await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_and_binary_frames_are_told_apart() {
    let scene = Scene::begin().await;
    let mut alice = scene.user("alice").await;
    let not_utf_8 = Frame::message(Bytes::from_static(b"{\"action\":\"\xff\xfe\"}"), OpCode::Data(Data::Text), true);
    alice.send_message(Message::Frame(not_utf_8)).await;
    assert_eq!(alice.wait_closed().await.code, 1007);
    let mut bob = scene.user("bob").await;
    bob.send_message(Message::binary(b"{\"action\":\"ping\"}".to_vec())).await;
    let ending = bob.wait_closed().await;
    assert_eq!((ending.code, ending.reason.as_str()), (1003, "Binary frames are not supported"));
    scene.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_frames_are_closed_with_1002() {
    let scene = Scene::begin().await;
    let long_ping = [b"\x89\xfe\x00\x7e\0\0\0\0".as_slice(), &[0; 126]].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("a frame that is not masked", b"\x81\x02{}"),
        ("reserved bits", b"\xf1\x82\0\0\0\0{}"),
        ("a reserved opcode", b"\x83\x82\0\0\0\0{}"),
        ("a ping in several frames", b"\x09\x80\0\0\0\0"),
        ("a ping that is too long", &long_ping),
        ("a continuation of nothing", b"\x80\x82\0\0\0\0{}"),
    ];
    for (what, bytes) in cases {
        let mut raw = RawConnection::upgrade(scene.server.traffic, &format!("/{STAGE}"), &scene.token("alice")).await;
        raw.write(bytes).await;
        assert_eq!(raw.close_code().await, Some(1002), "{what}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_a_frame_is_lost_and_forgotten() {
    let scene = Scene::begin().await;
    let mut raw = RawConnection::upgrade(scene.server.traffic, &format!("/{STAGE}"), &scene.token("alice")).await;
    raw.write(b"\x81\xfe\x10\x00\0\0\0\0{\"action\"").await;
    drop(raw);
    scene.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"connection_lost\"}", 1.0).await;
    let mut root = scene.user("root").await;
    let online = root.request(json!({"action": "presence", "channel": "everyone"})).await;
    assert_eq!(online["channels"]["everyone"]["connections"], 2);
    scene.end().await;
}
