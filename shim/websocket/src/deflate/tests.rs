use proptest::prelude::*;

use super::*;

const LIMIT: usize = 128 * 1024;

fn agreed(client_no_context_takeover: bool, server_max_window_bits: Option<u8>) -> DeflateContext {
    let server_no_context_takeover = false;
    DeflateContext::new(&DeflateAgreement {
        server_no_context_takeover,
        client_no_context_takeover,
        server_max_window_bits,
    })
}

/// A client's compressor; with `takeover`, messages refer to earlier ones.
struct Peer {
    compressor: Compress,
    takeover: bool,
}

impl Peer {
    fn new(takeover: bool) -> Self {
        Self { compressor: Compress::new(Compression::default(), false), takeover }
    }

    fn message(&mut self, text: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.compressor.reset();
        }
        let before = self.compressor.total_out();
        let mut out = vec![0; text.len() * 2 + 64];
        self.compressor.compress(text, &mut out, FlushCompress::Sync).unwrap();
        out.truncate((self.compressor.total_out() - before) as usize);
        if out.is_empty() {
            // Nothing was written since the last flush.
            return vec![0];
        }
        assert!(out.ends_with(&FLUSH_TAIL));
        out.truncate(out.len() - 4);
        out
    }
}

/// Returns a compressible text like an application's messages.
fn prose(bytes: usize) -> String {
    let words = ["room", "lobby", "offset", "message", "\u{e4}\u{f6}\u{fc}", "{\"id\":", "17"];
    let mut text: String = (0..bytes)
        .map(|n| words[(n * n + n / 3) % words.len()])
        .take_while({
            let mut length = 0;
            move |word| {
                length += word.len();
                length <= bytes
            }
        })
        .collect();
    text.push_str(&" ".repeat(bytes - text.len()));
    text
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3_inflate() {
    // 7.2.3.1: one block.
    let mut plain = agreed(true, None);
    assert_eq!(plain.inflate_message(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], LIMIT).unwrap(), b"Hello");
    // 7.2.3.2: the second message refers to the first one.
    let mut sharing = agreed(false, None);
    assert_eq!(sharing.inflate_message(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], LIMIT).unwrap(), b"Hello");
    assert_eq!(sharing.inflate_message(&[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT).unwrap(), b"Hello");
    assert_eq!(
        plain.inflate_message(&[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT),
        Err(InflateError::Corrupt),
        "no window is kept"
    );
    // 7.2.3.3: a block without compression.
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(plain.inflate_message(&stored, LIMIT).unwrap(), b"Hello");
    // 7.2.3.4: a final block.
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(plain.inflate_message(&last, LIMIT).unwrap(), b"Hello");
    assert_eq!(sharing.inflate_message(&last, LIMIT).unwrap(), b"Hello");
    assert_eq!(
        sharing.inflate_message(&[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT).unwrap(),
        b"Hello",
        "the window includes earlier messages"
    );
    // 7.2.3.5: two blocks.
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(plain.inflate_message(&two, LIMIT).unwrap(), b"Hello");
    // 7.2.3.6: an empty message; a frame without payload is equivalent.
    assert_eq!(plain.inflate_message(&[0x00], LIMIT).unwrap(), b"");
    assert_eq!(plain.inflate_message(&[], LIMIT).unwrap(), b"");
}

#[test]
fn corrupt_streams_are_rejected() {
    let whole = Peer::new(false).message(prose(2_000).as_bytes());
    for cut in 1..whole.len() {
        assert!(agreed(true, None).inflate_message(&whole[..cut], LIMIT).is_err(), "cut at {cut} of {}", whole.len());
    }
    for corrupt in [&[0x06_u8][..], &[0xff; 20], b"plain text, not compressed"] {
        assert_eq!(agreed(true, None).inflate_message(corrupt, LIMIT), Err(InflateError::Corrupt), "{corrupt:x?}");
    }
    // Too many final blocks: each one would reset the inflater.
    let endless = [0x03, 0x00].repeat(1_000);
    assert_eq!(agreed(true, None).inflate_message(&endless, LIMIT), Err(InflateError::Corrupt));
}

#[test]
fn a_decompression_bomb_is_rejected_at_the_limit() {
    let bomb = Peer::new(false).message(&vec![b'0'; 16 * 1024 * 1024]);
    assert!(bomb.len() < 32 * 1024, "the bomb fits into one frame");
    assert_eq!(agreed(false, None).inflate_message(&bomb, LIMIT), Err(InflateError::TooLong));
    let allocated = INFLATER.with_borrow(|slot| slot.as_ref().map_or(0, |(_, scratch)| scratch.capacity()));
    assert!(allocated <= 2 * LIMIT, "{allocated} bytes were allocated");
    for (bytes, allowed) in [(LIMIT, true), (LIMIT + 1, false)] {
        let payload = Peer::new(false).message(prose(bytes).as_bytes());
        assert_eq!(agreed(true, None).inflate_message(&payload, LIMIT).is_ok(), allowed, "{bytes} bytes");
    }
}

#[test]
fn the_window_is_kept_only_with_context_takeover() {
    let (mut with_takeover, mut without) = (agreed(false, None), agreed(true, None));
    let (mut taking, mut resetting) = (Peer::new(true), Peer::new(false));
    for round in 0..200 {
        let text = format!("{} {}", prose(1_000), round);
        assert_eq!(with_takeover.inflate_message(&taking.message(text.as_bytes()), LIMIT).unwrap(), text.as_bytes());
        assert_eq!(without.inflate_message(&resetting.message(text.as_bytes()), LIMIT).unwrap(), text.as_bytes());
    }
    assert_eq!(with_takeover.window.capacity(), CLIENT_WINDOW_BYTES);
    assert_eq!(without.window.capacity(), 0);
}

#[test]
fn incompressible_texts_are_not_compressed() {
    assert_eq!(compress_text(prose(MIN_TEXT_BYTES - 1).as_bytes()), None);
    assert!(compress_text(prose(MIN_TEXT_BYTES).as_bytes()).is_some());
    // Pseudo-random bytes are incompressible.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(40_000)
    .collect();
    assert_eq!(compress_text(&noise), None);
}

#[test]
fn a_client_with_a_small_window_can_inflate_accepted_texts() {
    for bits in 8..=15 {
        let deflate = agreed(true, Some(bits));
        for bytes in [600, 5_000, 40_000] {
            let text = prose(bytes);
            if !deflate.accepts_length(bytes) {
                continue;
            }
            let compressed = compress_text(text.as_bytes()).unwrap();
            // zlib does not support a window of 8 bits; 9 is used instead.
            let mut inflater = Decompress::new_with_window_bits(false, bits.max(9));
            let mut out = vec![0; bytes + 1];
            // Small outputs, so that the inflater has to use its window.
            let (mut read, payload) = (0, [&compressed[..], &FLUSH_TAIL].concat());
            while (inflater.total_out() as usize) < bytes {
                let from = inflater.total_out() as usize;
                let to = (from + 100).min(out.len());
                inflater.decompress(&payload[read..], &mut out[from..to], FlushDecompress::Sync).unwrap();
                read = inflater.total_in() as usize;
            }
            assert_eq!(&out[..bytes], text.as_bytes(), "{bits} bits, {bytes} bytes");
        }
    }
    assert!(
        !agreed(true, Some(9)).accepts_length(513)
            && agreed(true, Some(9)).accepts_length(512)
            && agreed(true, Some(12)).accepts_length(1 << 20)
    );
}

proptest! {
    #[test]
    fn compressed_texts_inflate_to_the_original(text in "[a-c\u{e4}{}\":,]{0,6000}") {
        if let Some(compressed) = compress_text(text.as_bytes()) {
            prop_assert!(compressed.len() < text.len());
            prop_assert_eq!(agreed(true, None).inflate_message(&compressed, LIMIT).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn sequences_of_messages_inflate_to_the_originals(texts in prop::collection::vec("\\PC{0,400}", 1..40), takeover: bool) {
        let (mut peer, mut deflate) = (Peer::new(takeover), agreed(!takeover, None));
        for text in texts {
            let payload = peer.message(text.as_bytes());
            prop_assert_eq!(deflate.inflate_message(&payload, LIMIT).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn no_bytes_panic_or_exceed_the_limit(payload in prop::collection::vec(any::<u8>(), 0..300), limit in 0_usize..200) {
        if let Ok(text) = agreed(false, None).inflate_message(&payload, limit) {
            prop_assert!(text.len() <= limit);
        }
    }
}
