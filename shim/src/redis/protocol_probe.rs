//! A second look at a port that did not answer as expected: does it speak TLS, or plain Redis?
//!
//! Only asked after a failure, so that the failure can say what to change. It never sends a password.

use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortProtocol {
    /// The Redis protocol as it is.
    PlainRedis,
    /// TLS.
    Tls,
    /// Neither, or nothing in time.
    Unknown,
}

/// Asks in the way that the configured one is not.
pub(super) async fn detect_protocol(place: &ConnectionAddr, patience: Duration) -> PortProtocol {
    let first = match place {
        ConnectionAddr::Tcp(host, port) => first_byte(host, *port, &client_hello(), patience).await,
        ConnectionAddr::TcpTls { host, port, .. } => first_byte(host, *port, b"PING\r\n", patience).await,
        _ => None,
    };
    match first {
        // A handshake or an alert ("TLS 1.3", RFC 8446, section 5.1).
        Some(0x16 | 0x15) => PortProtocol::Tls,
        // A simple string or an error of the Redis protocol.
        Some(b'+' | b'-') => PortProtocol::PlainRedis,
        _ => PortProtocol::Unknown,
    }
}

async fn first_byte(host: &str, port: u16, question: &[u8], patience: Duration) -> Option<u8> {
    let asked = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        stream.write_all(question).await.ok()?;
        stream.read_u8().await.ok()
    };
    timeout(patience, asked).await.ok().flatten()
}

/// The first message of a TLS client. Nothing is trusted: the handshake is not meant to end well.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut hello = Vec::new();
    if let Ok(name) = ServerName::try_from("redis.invalid")
        && let Ok(mut connection) = ClientConnection::new(Arc::new(config), name)
    {
        // Writing to a vector does not fail; an empty question leaves the port unknown.
        let _ = connection.write_tls(&mut hello);
    }
    hello
}
