//! Tests of the socket with permessage-deflate.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use super::*;

const AGREED: DeflateAgreement = DeflateAgreement {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
};
/// "Hello", compressed as in RFC 7692 section 7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn compressed_pair() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (socket, stream) = pair();
    (socket.with_compression(Some(&AGREED)), stream)
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut out = vec![0; text.len() + 64];
    let mut compressor = Compress::new(Compression::default(), false);
    compressor.compress(text, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(compressor.total_out() as usize - 4);
    out
}

fn inflated(payload: &[u8], capacity: usize) -> String {
    let mut out = vec![0; capacity];
    let mut inflater = Decompress::new(false);
    inflater.decompress(&[payload, &[0, 0, 0xFF, 0xFF]].concat(), &mut out, FlushDecompress::Sync).unwrap();
    out.truncate(inflater.total_out() as usize);
    String::from_utf8(out).unwrap()
}

/// Returns the first byte and the payload of each frame of the server.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::parse(bytes).unwrap() {
        let end = header.header_bytes + header.payload_bytes as usize;
        frames.push((bytes[0], bytes[header.header_bytes..end].to_vec()));
        bytes = &bytes[end..];
    }
    frames
}

async fn sent(mut socket: WebSocket<DuplexStream>, mut stream: DuplexStream) -> Vec<u8> {
    flush(&mut socket).await;
    drop(socket);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_compressed_message_arrives_in_frames_with_a_ping_in_between() {
    let (mut socket, mut stream) = compressed_pair();
    for frame in [masked(0x41, &HELLO[..3]), masked(0x89, b"ping"), masked(0x80, &HELLO[3..]), masked(0x81, b"plain")] {
        stream.write_all(&frame).await.unwrap();
    }
    // Refers to the first message.
    stream.write_all(&masked(0xC1, &[0xf2, 0x00, 0x11, 0x00, 0x00])).await.unwrap();
    assert_eq!(read(&mut socket).await, Ok(SocketMessage::PingOrPong));
    for text in ["Hello", "plain", "Hello"] {
        assert_eq!(read(&mut socket).await, Ok(SocketMessage::Text(text.to_owned())));
    }
}

#[tokio::test]
async fn violations_of_rfc_7692_have_their_errors() {
    let cases: [(Vec<u8>, Result<SocketMessage, SocketError>); 8] = [
        ([masked(0x41, &HELLO[..3]), masked(0xC0, &HELLO[3..])].concat(), Err(SocketError::Protocol)),
        (masked(0xC9, b"ping"), Err(SocketError::Protocol)),
        (masked(0xC1, b"not a deflate stream"), Err(SocketError::InvalidDeflate)),
        (masked(0xC1, &HELLO[..4]), Err(SocketError::InvalidDeflate)),
        (masked(0xC1, &deflated(b"\xFF\xFE")), Err(SocketError::InvalidUtf8)),
        (masked(0xC1, &deflated(&[b'0'; 2_501])), Err(SocketError::MessageTooBig)),
        (masked(0xC1, &[0; 1_001]), Err(SocketError::FrameTooBig)),
        (masked(0xC2, &HELLO), Ok(SocketMessage::Binary)),
    ];
    for (position, (bytes, expected)) in cases.into_iter().enumerate() {
        let (mut socket, mut stream) = compressed_pair();
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(read(&mut socket).await, expected, "case {position}");
    }
}

#[tokio::test]
async fn only_the_first_frame_of_a_compressed_message_has_rsv1() {
    let (mut socket, stream) = compressed_pair();
    let long: String = (0..400).map(|number| format!("{{\"number\":{number}}}")).collect();
    feed(&mut socket, "short").await;
    feed(&mut socket, &long).await;
    socket.enqueue_close(1000, "bye");
    let frames = frames(&sent(socket, stream).await);
    assert_eq!(frames[0], (0x81, b"short".to_vec()));
    let (close, parts) = frames[1..].split_last().unwrap();
    assert_eq!(close.0, 0x88);
    let first_bytes: Vec<u8> = parts.iter().map(|(first, _)| *first).collect();
    let expected = [&[0x41][..], &vec![0x00; parts.len() - 2], &[0x80]].concat();
    assert_eq!(first_bytes, expected);
    assert!(parts.iter().all(|(_, payload)| payload.len() <= LIMITS.outbound_frame_bytes));
    let payload: Vec<u8> = parts.iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert_eq!(inflated(&payload, long.len() + 1), long);
}

#[tokio::test]
async fn a_shared_text_is_compressed_once() {
    let text = SharedText::from("{\"type\":\"message\"}".repeat(50));
    let mut received = Vec::new();
    for agreement in [Some(&AGREED), Some(&AGREED), None] {
        let (socket, stream) = pair();
        let mut socket = socket.with_compression(agreement);
        let receiver = text.clone();
        poll_fn(|cx| Poll::Ready(socket.enqueue_shared(cx, &receiver))).await.unwrap();
        let address = receiver.compressed_form().map(<[u8]>::as_ptr);
        assert_eq!(address, text.compressed_form().map(<[u8]>::as_ptr), "clones share the compressed form");
        received.push(frames(&sent(socket, stream).await));
    }
    assert_eq!(received[0], received[1]);
    assert_eq!((received[0][0].0 & 0x40, received[2][0].0 & 0x40), (0x40, 0));
    let plain: Vec<u8> = received[2].iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert_eq!(plain, &text[..]);
}

#[tokio::test]
async fn a_text_larger_than_a_small_window_is_sent_uncompressed() {
    let small = DeflateAgreement { server_max_window_bits: Some(9), ..AGREED };
    let (socket, stream) = pair();
    let mut socket = socket.with_compression(Some(&small));
    feed(&mut socket, &"x".repeat(512)).await;
    feed(&mut socket, &"x".repeat(513)).await;
    let frames = frames(&sent(socket, stream).await);
    assert_eq!(frames[0].0 & 0x40, 0x40);
    assert!(frames[1..].iter().all(|(first, _)| first & 0x40 == 0));
}

proptest! {
    #[test]
    fn any_text_arrives_through_any_fragmentation(text in "\\PC{0,200}", cuts in prop::collection::vec(0_usize..900, 0..6)) {
        let payload = deflated(text.as_bytes());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(payload.len())).chain([0, payload.len()]).collect();
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        let parts = cuts.windows(2).enumerate().map(|(position, cut)| {
            let first = (if position == 0 { 0x41 } else { 0 }) | if position == last { 0x80 } else { 0 };
            masked(first, &payload[cut[0]..cut[1]])
        });
        let bytes: Vec<u8> = parts.flatten().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let received = runtime.block_on(async {
            let (mut socket, mut stream) = compressed_pair();
            let (_, received) = tokio::join!(stream.write_all(&bytes), read(&mut socket));
            received
        });
        prop_assert_eq!(received, if text.len() <= LIMITS.message_bytes { Ok(SocketMessage::Text(text)) } else { Err(SocketError::MessageTooBig) });
    }
}
