use std::future::poll_fn;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Peer;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::*;

mod compression;

const LIMITS: SocketLimits = SocketLimits { frame_bytes: 1_000, message_bytes: 2_500, outbound_frame_bytes: 100 };
const MASK: [u8; 4] = [7, 1, 2, 9];

fn pair() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(8 * 1024);
    (WebSocket::new(ours, &[], LIMITS), theirs)
}

async fn peer(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    let config = WebSocketConfig::default().max_frame_size(Some(LIMITS.outbound_frame_bytes));
    WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await
}

async fn read(socket: &mut WebSocket<DuplexStream>) -> Result<SocketMessage, SocketError> {
    poll_fn(|cx| socket.poll_read(cx)).await
}

async fn flush(socket: &mut WebSocket<DuplexStream>) {
    poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
}

async fn feed(socket: &mut WebSocket<DuplexStream>, text: &str) {
    poll_fn(|cx| Poll::Ready(socket.enqueue_text(cx, text.as_bytes()))).await.unwrap();
}

/// Returns a client's frame with the first byte `first`.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_frame(&mut bytes, Opcode::Text, true, false, payload);
    let header = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.splice(header..header, MASK);
    frame::apply_mask(&mut bytes[header + 4..], MASK);
    bytes
}

#[tokio::test]
async fn tungstenite_and_this_socket_interoperate() {
    let (mut socket, stream) = pair();
    let mut client = peer(stream).await;
    client.send(Peer::text("hällo")).await.unwrap();
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::Text("hällo".to_owned())));
    let long = "x".repeat(250);
    feed(&mut socket, &long).await;
    flush(&mut socket).await;
    // Three frames of at most 100 bytes, because the client rejects longer ones.
    assert_eq!(client.next().await.unwrap().unwrap(), Peer::text(long));
    client.close(None).await.unwrap();
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::Close(None)));
    flush(&mut socket).await;
    assert!(matches!(client.next().await, Some(Ok(Peer::Close(None)))));
}

#[tokio::test]
async fn pings_are_answered_with_their_payload() {
    let (mut socket, stream) = pair();
    let mut client = peer(stream).await;
    client.send(Peer::Ping("are you there".into())).await.unwrap();
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::PingOrPong));
    flush(&mut socket).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Peer::Pong("are you there".into()));
}

#[tokio::test]
async fn fragments_of_a_sent_message_end_at_character_boundaries() {
    for (prefix, character) in [("", "x"), ("", "ä"), ("x", "ä"), ("", "€"), ("x", "€"), ("xx", "😀"), ("xxx", "😀")]
    {
        let (mut socket, mut stream) = pair();
        let text = format!("{prefix}{}", character.repeat(300));
        feed(&mut socket, &text).await;
        flush(&mut socket).await;
        drop(socket);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let (mut received, mut rest) = (String::new(), &bytes[..]);
        while let Some(header) = FrameHeader::parse(rest).unwrap() {
            let (frame, following) = rest.split_at(header.header_bytes + header.payload_bytes as usize);
            let payload = &frame[header.header_bytes..];
            assert!(payload.len() <= LIMITS.outbound_frame_bytes && (header.fin || payload.len() > 96));
            received.push_str(std::str::from_utf8(payload).expect("each frame is valid UTF-8"));
            rest = following;
        }
        assert_eq!((received, rest.len()), (text, 0));
    }
}

#[tokio::test]
async fn the_server_sends_pings_and_a_pong_counts_as_received() {
    let (mut socket, stream) = pair();
    let mut client = peer(stream).await;
    socket.enqueue_ping();
    flush(&mut socket).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Peer::Ping("".into()));
    assert!(!socket.take_received());
    client.flush().await.unwrap();
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::PingOrPong));
    assert!(socket.take_received() && !socket.take_received());
}

#[tokio::test]
async fn fragments_become_one_message_with_control_frames_in_between() {
    let (mut socket, mut stream) = pair();
    // The two bytes of "ä" are in different frames.
    for frame in [masked(0x01, b"\xC3"), masked(0x89, b"ping"), masked(0x00, b"\xA4"), masked(0x80, b"!")] {
        stream.write_all(&frame).await.unwrap();
    }
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::PingOrPong));
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::Text("ä!".to_owned())));
}

#[tokio::test]
async fn a_frame_that_arrives_byte_by_byte_is_read() {
    let (mut socket, mut stream) = pair();
    let bytes = [masked(0x81, &[b'a'; 300]), masked(0x81, b"second")].concat();
    let writing = async {
        for byte in bytes {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        assert_eq!(read(&mut socket).await, Ok(SocketMessage::Text("a".repeat(300))));
        assert_eq!(read(&mut socket).await, Ok(SocketMessage::Text("second".to_owned())));
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn violations_of_the_rfc_have_their_errors() {
    let cases: [(Vec<u8>, SocketError); 9] = [
        (b"\x81\x05hello".to_vec(), SocketError::Protocol),
        (masked(0xC1, b"compressed without an agreement"), SocketError::Protocol),
        (masked(0x80, b"continues nothing"), SocketError::Protocol),
        (masked(0x83, b"reserved opcode"), SocketError::Protocol),
        (masked(0x88, &999_u16.to_be_bytes()), SocketError::Protocol),
        (masked(0x88, b"\x03"), SocketError::Protocol),
        (masked(0x81, b"\xFF\xFE"), SocketError::InvalidUtf8),
        (masked(0x81, &[b'x'; 1_001]), SocketError::FrameTooBig),
        (
            [masked(0x01, &[b'x'; 900]), masked(0x00, &[b'x'; 900]), masked(0x80, &[b'x'; 900])].concat(),
            SocketError::MessageTooBig,
        ),
    ];
    for (bytes, expected) in cases {
        let (mut socket, mut stream) = pair();
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut socket).await, Err(expected));
        assert_eq!(read(&mut socket).await, Err(expected), "the error is permanent");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_blocks_the_socket_without_loss() {
    let (mut socket, mut stream) = pair();
    let text = "y".repeat(90);
    while !socket.is_write_blocked() {
        feed(&mut socket, &text).await;
    }
    let sent_bytes = socket.unsent_bytes() + 8 * 1024;
    let mut received = vec![0; sent_bytes];
    let reading = async { stream.read_exact(&mut received).await.unwrap() };
    let (read, ()) = tokio::join!(reading, flush(&mut socket));
    assert!(!socket.is_write_blocked());
    assert_eq!(read, sent_bytes);
    assert_eq!(socket.outgoing.capacity(), 0, "an idle socket holds no buffer");
}

#[tokio::test]
async fn an_idle_socket_holds_only_the_bytes_of_an_incomplete_frame() {
    let (mut socket, mut stream) = pair();
    stream.write_all(&masked(0x81, b"hello")[..4]).await.unwrap();
    let pending = poll_fn(|cx| Poll::Ready(socket.poll_read(cx).is_pending())).await;
    assert!(pending);
    assert!(socket.incoming.capacity() < 64, "{}", socket.incoming.capacity());
}
