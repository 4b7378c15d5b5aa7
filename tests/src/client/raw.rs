//! Raw bytes on a TCP connection, for input that a WebSocket library refuses to send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::eventually::with_timeout;
use crate::websocket::{RawFrame, close_status, opcode};

/// TCP connection to a server.
pub struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    /// Connects and sends nothing.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = with_timeout("a TCP connection", TcpStream::connect(address)).await.expect("the server listens");
        stream.set_nodelay(true).expect("an open socket accepts options");
        Self { stream }
    }

    /// Connects with a receive buffer of this size in the kernel, which limits what the server can send to a client that
    /// does not read.
    pub async fn connect_with_receive_buffer(address: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be created");
        socket.set_recv_buffer_size(bytes).expect("a socket accepts options");
        let stream = with_timeout("a connection", socket.connect(address)).await.expect("the server accepts");
        Self { stream }
    }

    /// Connects and completes a WebSocket upgrade.
    pub async fn upgrade(address: SocketAddr, path: &str, token: &str) -> Self {
        Self::connect(address).await.into_upgraded(path, token).await
    }

    /// Completes a WebSocket upgrade.
    pub async fn into_upgraded(mut self, path: &str, token: &str) -> Self {
        let raw = &mut self;
        raw.write(Self::upgrade_request(path, token).as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "the server did not upgrade: {head}");
        self
    }

    /// Returns a valid upgrade request. The key is the example of RFC 6455, section 1.3.
    #[must_use]
    pub fn upgrade_request(path: &str, token: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: twinway.v1, bearer.{token}\r\n\r\n"
        )
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        with_timeout("the server to read bytes", self.stream.write_all(bytes)).await.expect("the server reads");
    }

    /// Writes bytes; returns `false` when the server has closed the connection.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        with_timeout("the server to read bytes", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads a response head up to its empty line.
    pub async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = with_timeout("a response", self.stream.read_u8()).await;
            head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Reads up to the first occurrence of `end`.
    pub async fn read_until(&mut self, end: &str) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(with_timeout(&format!("{end:?}"), self.stream.read_u8()).await.expect("the connection is open"));
        }
    }

    /// Reads until the server closes the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset ends a connection as well as a FIN does.
        let _ = with_timeout("the server to close the connection", self.stream.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Expects a close frame as the first frame and returns its code; `None` when the connection ends without data.
    pub async fn close_code(&mut self) -> Option<u16> {
        let bytes = self.read_to_end().await;
        match RawFrame::parse(&bytes) {
            Some((RawFrame { opcode: opcode::CLOSE, payload, .. }, _)) => {
                Some(close_status(&payload).map_or(1005, |(code, _)| code))
            }
            None if bytes.is_empty() => None,
            other => panic!("the server sent {other:?} instead of a close frame"),
        }
    }
}
