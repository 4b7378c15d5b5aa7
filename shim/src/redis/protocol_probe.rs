//! Detection of the protocol of a port, TLS or plain Redis, after a connection failed.
//!
//! It lets the start-up error say what to change. It never sends a password.

use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortProtocol {
    /// Redis protocol without TLS.
    PlainRedis,
    Tls,
    /// Another protocol, or no reply in time.
    Unknown,
}

/// Tests for the protocol that is not configured: TLS if the address is plain, plain Redis if it uses TLS.
pub(super) async fn detect_protocol(addr: &ConnectionAddr, probe_timeout: Duration) -> PortProtocol {
    let reply = match addr {
        ConnectionAddr::Tcp(host, port) => read_first_byte(host, *port, &client_hello(), probe_timeout).await,
        ConnectionAddr::TcpTls { host, port, .. } => read_first_byte(host, *port, b"PING\r\n", probe_timeout).await,
        _ => None,
    };
    match reply {
        // A handshake or alert record (RFC 8446, section 5.1).
        Some(0x16 | 0x15) => PortProtocol::Tls,
        // A simple string or an error ("Redis serialization protocol").
        Some(b'+' | b'-') => PortProtocol::PlainRedis,
        _ => PortProtocol::Unknown,
    }
}

async fn read_first_byte(host: &str, port: u16, request: &[u8], probe_timeout: Duration) -> Option<u8> {
    let probe = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        stream.write_all(request).await.ok()?;
        stream.read_u8().await.ok()
    };
    timeout(probe_timeout, probe).await.ok().flatten()
}

/// Returns the first message of a TLS client. No certificate is trusted, because the handshake is not completed.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut hello = Vec::new();
    if let Ok(name) = ServerName::try_from("redis.invalid")
        && let Ok(mut connection) = ClientConnection::new(Arc::new(config), name)
    {
        // Writing to a vector does not fail. After another error the request is empty and the protocol unknown.
        let _ = connection.write_tls(&mut hello);
    }
    hello
}
