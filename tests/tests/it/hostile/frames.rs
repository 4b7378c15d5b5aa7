//! Frames that violate the WebSocket protocol or its limits: each closes the connection with the matching code.

use bytes::Bytes;
use serde_json::json;
use tests::client::raw::RawConnection;
use tests::server::STAGE;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::HostileFixture;

#[tokio::test]
async fn a_frame_over_the_quota_is_closed_with_1009() {
    let fixture = HostileFixture::start().await;
    for bytes in [40 * 1024, 10 * 1024 * 1024] {
        let mut alice = fixture.user("alice").await;
        alice.send_text(&"x".repeat(bytes)).await;
        let close = alice.wait_closed().await;
        assert_eq!((close.code, close.reason.as_str()), (1009, "Frame too big"), "{bytes} bytes");
    }
    fixture.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"frame_too_big\"}", 2.0).await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_message_in_frames_is_bounded_as_a_whole() {
    let fixture = HostileFixture::start().await;
    let mut alice = fixture.user("alice").await;
    let part = |position: usize, last: usize| {
        let opcode = OpCode::Data(if position == 0 { Data::Text } else { Data::Continue });
        Message::Frame(Frame::message(Bytes::from(vec![b' '; 32 * 1024]), opcode, position == last))
    };
    // 128 KiB in four frames of 32 KiB is the maximum; it is only not JSON.
    for position in 0..4 {
        alice.send_message(part(position, 3)).await;
    }
    assert_eq!(alice.next_of_type("error").await["code"], "bad_json");
    for position in 0..5 {
        alice.send_message(part(position, 4)).await;
    }
    assert_eq!(alice.wait_closed().await.code, 1009);
    fixture.finish().await;
}

#[tokio::test]
async fn invalid_utf_8_and_binary_frames_have_different_close_codes() {
    let fixture = HostileFixture::start().await;
    let mut alice = fixture.user("alice").await;
    let not_utf_8 = Frame::message(Bytes::from_static(b"{\"action\":\"\xff\xfe\"}"), OpCode::Data(Data::Text), true);
    alice.send_message(Message::Frame(not_utf_8)).await;
    assert_eq!(alice.wait_closed().await.code, 1007);
    let mut bob = fixture.user("bob").await;
    bob.send_message(Message::binary(b"{\"action\":\"ping\"}".to_vec())).await;
    let close = bob.wait_closed().await;
    assert_eq!((close.code, close.reason.as_str()), (1003, "Binary frames are not supported"));
    fixture.finish().await;
}

#[tokio::test]
async fn invalid_frames_are_closed_with_1002() {
    let fixture = HostileFixture::start().await;
    let long_ping = [b"\x89\xfe\x00\x7e\0\0\0\0".as_slice(), &[0; 126]].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("an unmasked frame", b"\x81\x02{}"),
        ("reserved bits", b"\xf1\x82\0\0\0\0{}"),
        ("a reserved opcode", b"\x83\x82\0\0\0\0{}"),
        ("a ping in several frames", b"\x09\x80\0\0\0\0"),
        ("a ping above 125 bytes", &long_ping),
        ("a continuation without a message", b"\x80\x82\0\0\0\0{}"),
    ];
    for (what, bytes) in cases {
        let mut raw =
            RawConnection::upgrade(fixture.server.traffic, &format!("/{STAGE}"), &fixture.token("alice")).await;
        raw.write(bytes).await;
        assert_eq!(raw.close_code().await, Some(1002), "{what}");
    }
    fixture.finish().await;
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_frame_is_removed() {
    let fixture = HostileFixture::start().await;
    let mut raw = RawConnection::upgrade(fixture.server.traffic, &format!("/{STAGE}"), &fixture.token("alice")).await;
    raw.write(b"\x81\xfe\x10\x00\0\0\0\0{\"action\"").await;
    drop(raw);
    fixture.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"connection_lost\"}", 1.0).await;
    let mut root = fixture.user("root").await;
    let online = root.request(json!({"action": "presence", "channel": "everyone"})).await;
    assert_eq!(online["channels"]["everyone"]["connections"], 2);
    fixture.finish().await;
}
