//! Decompression of server messages (RFC 7692), with one decompressor for all connections of the generator.
//!
//! Every message must be compressed independently, as by a server that accepted `server_no_context_takeover`. A
//! connection accepts compressed messages only if the handshake response negotiated them.

use std::cell::RefCell;

use anyhow::{Context, ensure};
use flate2::{Decompress, FlushDecompress};

use super::frame::MAX_PAYLOAD;

/// Extension header that offers compression, for `--header`.
pub const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";

/// Suffix of a compressed message that is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

thread_local! {
    static INFLATER: RefCell<(Decompress, Vec<u8>)> = RefCell::new((Decompress::new(false), vec![0; MAX_PAYLOAD]));
}

/// Returns whether a handshake response accepts [`OFFER`].
pub fn is_agreed(head: &str) -> bool {
    let is_extensions = |line: &str| {
        line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
    };
    head.lines().any(|line| {
        is_extensions(line) && line.contains("permessage-deflate") && line.contains("server_no_context_takeover")
    })
}

/// Decompresses a message and passes it to `on_text`.
///
/// # Errors
/// The message is invalid, or longer than [`MAX_PAYLOAD`] after decompression.
pub fn inflate(payload: &[u8], on_text: impl FnOnce(&[u8])) -> anyhow::Result<()> {
    INFLATER.with_borrow_mut(|(inflater, text)| {
        inflater.reset(false);
        for part in [payload, &TAIL] {
            let (read, written) = (inflater.total_in(), inflater.total_out() as usize);
            inflater.decompress(part, &mut text[written..], FlushDecompress::Sync).context("inflating")?;
            let read = inflater.total_in() - read;
            ensure!(read == part.len() as u64, "a message inflates to more than {MAX_PAYLOAD} bytes, or is invalid");
        }
        on_text(&text[..inflater.total_out() as usize]);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7692_section_7_2_3_1_inflates() {
        let mut seen = Vec::new();
        inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], |text| seen = text.to_vec()).unwrap();
        assert_eq!(seen, b"Hello");
        assert!(inflate(b"not deflated", |_| {}).is_err());
    }

    #[test]
    fn only_the_offered_parameters_are_accepted() {
        let head = "HTTP/1.1 101 x\r\nsec-websocket-extensions: permessage-deflate;server_no_context_takeover\r\n";
        assert!(is_agreed(head));
        assert!(!is_agreed("HTTP/1.1 101 x\r\nsec-websocket-extensions: permessage-deflate\r\n"));
        assert!(!is_agreed("HTTP/1.1 101 x\r\nserver: permessage-deflate;server_no_context_takeover\r\n"));
    }
}
