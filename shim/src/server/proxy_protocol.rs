//! PROXY protocol, versions 1 and 2: the address of the client at the start of a TCP connection.
//!
//! A receiver must not guess whether the header is present (specification, section 2), so either every connection of a
//! listener has one or none.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Both versions; the extensions of version 2 are not read.
const BOTH_VERSIONS: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
/// Bytes that every header has: `PROXY UNKNOWN\r\n`.
const MIN_BYTES: usize = 15;
/// Bytes of version 2 up to and including the length of the rest.
const V2_PREFIX_BYTES: usize = 16;
/// Maximum bytes of the rest, which consists of addresses and extensions. Proxies send at most a few hundred.
const MAX_V2_REST_BYTES: usize = 4096;

/// Reads the header and returns the address of the client, or `peer` for a connection of the proxy itself, for example
/// a health check. Reads no byte that follows the header.
pub(super) async fn read_proxied_address(stream: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Error> {
    let mut header = vec![0; MIN_BYTES];
    stream.read_exact(&mut header).await?;
    loop {
        match ProxyHeader::parse(&header, BOTH_VERSIONS) {
            Ok((parsed, _)) => return Ok(parsed.proxied_address().map_or(peer, |address| address.source)),
            Err(proxy_header::Error::BufferTooShort) => {}
            Err(error) => return Err(Error::new(ErrorKind::InvalidData, error)),
        }
        let known = header.len();
        let missing = missing_bytes(&header).ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
        header.resize(known + missing, 0);
        stream.read_exact(&mut header[known..]).await?;
    }
}

/// Returns the number of bytes that may be read next; `None` for a header that is too long.
fn missing_bytes(header: &[u8]) -> Option<usize> {
    match header {
        // Version 1 ends with a line break, so it is read byte by byte; the parser limits its length.
        [b'P', ..] => Some(1),
        header if header.len() < V2_PREFIX_BYTES => Some(V2_PREFIX_BYTES - header.len()),
        header => {
            let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
            (rest <= MAX_V2_REST_BYTES)
                .then(|| (V2_PREFIX_BYTES + rest).saturating_sub(header.len()))
                .filter(|missing| *missing > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const PEER: &str = "10.0.0.1:4000";

    /// Sends `bytes` and then `GET`; returns the address that was read, and what follows the header.
    async fn read(bytes: &[u8]) -> Result<(String, String), Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        client.write_all(&[bytes, b"GET"].concat()).await?;
        client.shutdown().await?;
        let (mut stream, _) = listener.accept().await?;
        let address = read_proxied_address(&mut stream, PEER.parse().unwrap()).await?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await?;
        Ok((address.to_string(), rest))
    }

    /// Returns a header of version 2 with this command, family and rest.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0xC7, 0x40, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        v6[33] = 7;
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 51008 80\r\n".to_vec(), "203.0.113.9:51008"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 7 80\r\n".to_vec(), "[2001:db8::7]:7"),
            (b"PROXY UNKNOWN\r\n".to_vec(), PEER),
            (b"PROXY UNKNOWN ffff:f 1 2 3 4\r\n".to_vec(), PEER),
            (version_2(1, 0x11, &v4), "203.0.113.9:51008"),
            (version_2(1, 0x11, &[&v4[..], &[4, 0, 2, 0, 0]].concat()), "203.0.113.9:51008"),
            (version_2(1, 0x21, &v6), "[2001:db8::7]:7"),
            (version_2(0, 0, &[]), PEER),
        ] {
            assert_eq!(read(&header).await.unwrap(), (expected.to_owned(), "GET".to_owned()), "{header:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_an_error() {
        for header in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9\r\n".to_vec(),
            b"PROXY TCP4 a b 1 2\r\n".to_vec(),
            [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
            version_2(1, 0x11, &[0; 3]),
            version_2(1, 0x11, &[0; 5000]),
            b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0".to_vec(),
            b"PROXY".to_vec(),
        ] {
            assert!(read(&header).await.is_err(), "{header:?}");
        }
    }
}
