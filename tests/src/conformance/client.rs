//! WebSocket client of the conformance cases: any variation of the handshake, raw frames, and received items.
//!
//! The client sends exactly the bytes of its case, valid or not, and reads with a timeout.

mod dial;
mod management;
mod signing;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

pub use self::dial::HandshakeBuilder;
pub use self::management::{ManagementReply, ManagementRequest, call};
pub use self::signing::{ManagementCaller, TestSigner};

use super::wire::WireConnection;
use super::wire::deflate::Deflate;
use super::wire::endpoint_address::EndpointAddress;
use super::wire::head::ResponseHead;
use crate::websocket::{self, RawFrame, opcode};

/// Item received from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedItem {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: code (1005 without one) and reason.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// Response that rejects a handshake.
#[derive(Debug)]
pub struct RejectedHandshake {
    /// Head of the response.
    pub head: ResponseHead,
    /// Body of the response.
    pub body: Bytes,
}

/// An open WebSocket.
pub struct ConformanceClient {
    /// Head of the `101` response.
    pub head: ResponseHead,
    /// Payload sizes of the received data frames.
    pub frame_sizes: Vec<usize>,
    /// Number of received compressed messages.
    pub compressed_messages: usize,
    deflate: Option<Deflate>,
    wire: WireConnection,
}

impl ConformanceClient {
    /// Opens a connection.
    ///
    /// # Errors
    /// The endpoint cannot be reached or rejects the handshake.
    pub async fn open(endpoint: &EndpointAddress, dial: HandshakeBuilder, timeout: Duration) -> anyhow::Result<Self> {
        match Self::attempt(endpoint, dial, timeout).await? {
            Ok(client) => Ok(client),
            Err(rejection) => bail!("the handshake was rejected: {rejection:?}"),
        }
    }

    /// Attempts a handshake and returns the client or the rejection.
    ///
    /// # Errors
    /// The endpoint cannot be reached or does not respond.
    pub async fn attempt(
        endpoint: &EndpointAddress,
        dial: HandshakeBuilder,
        timeout: Duration,
    ) -> anyhow::Result<Result<Self, RejectedHandshake>> {
        let mut wire = WireConnection::open(endpoint, timeout).await?;
        wire.send(&dial.request(endpoint)).await?;
        let head = wire.head().await?;
        if head.status != 101 {
            let body = wire.body(&head).await?;
            return Ok(Err(RejectedHandshake { head, body }));
        }
        let negotiated =
            head.header("sec-websocket-extensions").is_some_and(|value| value.starts_with("permessage-deflate"));
        let deflate = negotiated.then(Deflate::default);
        Ok(Ok(Self { head, frame_sizes: Vec::new(), compressed_messages: 0, deflate, wire }))
    }

    /// Sends frames unchanged.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send(&mut self, frames: &[RawFrame]) -> anyhow::Result<()> {
        let bytes: Vec<u8> = frames.iter().flat_map(RawFrame::to_bytes).collect();
        self.wire.send(&bytes).await
    }

    /// Sends a text message in one frame.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.send(&[RawFrame::new(opcode::TEXT, text)]).await
    }

    /// Sends a JSON text message in one frame.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send_json(&mut self, value: &Value) -> anyhow::Result<()> {
        self.send_text(&value.to_string()).await
    }

    /// Sends a directive to route `probe` (one-way).
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send_directive(&mut self, directive: Value) -> anyhow::Result<()> {
        self.send_json(&json!({"action": "probe", "answer": directive})).await
    }

    /// Sends a directive to route `ask` (two-way), and returns the text of the reply.
    ///
    /// # Errors
    /// The connection is broken, or something other than a text message arrived.
    pub async fn request_directive(&mut self, directive: Value) -> anyhow::Result<String> {
        self.send_json(&json!({"action": "ask", "answer": directive})).await?;
        self.text().await
    }

    /// Returns the next message or control frame; fragments are joined.
    ///
    /// # Errors
    /// Nothing arrived within the timeout.
    pub async fn next(&mut self) -> anyhow::Result<ReceivedItem> {
        let mut message: Option<RawFrame> = None;
        loop {
            let Some(frame) = self.wire.frame().await? else { return Ok(ReceivedItem::End) };
            let may_be_compressed = self.deflate.is_some() && matches!(frame.opcode, opcode::TEXT | opcode::BINARY);
            let reserved = frame.reserved & if may_be_compressed { 0b011 } else { 0b111 };
            ensure!(
                !frame.masked && reserved == 0,
                "a server's frame must not be masked, nor compressed without negotiation: {frame:?}"
            );
            match frame.opcode {
                opcode::PING => return Ok(ReceivedItem::Ping(frame.payload)),
                opcode::PONG => return Ok(ReceivedItem::Pong(frame.payload)),
                opcode::CLOSE => return close(&frame.payload),
                _ => {}
            }
            self.frame_sizes.push(frame.payload.len());
            let last = frame.fin;
            match &mut message {
                Some(fragmented) => fragmented.payload.extend(frame.payload),
                None => message = Some(frame),
            }
            if let Some(whole) = message.take_if(|_| last) {
                return self.message(whole);
            }
        }
    }

    /// Returns the item for a data message joined from its frames.
    fn message(&mut self, whole: RawFrame) -> anyhow::Result<ReceivedItem> {
        let payload = match &mut self.deflate {
            Some(deflate) if whole.reserved != 0 => {
                self.compressed_messages += 1;
                deflate.text(&whole.payload)?
            }
            _ => whole.payload,
        };
        if whole.opcode == opcode::TEXT {
            String::from_utf8(payload).map(ReceivedItem::Text).context("text that is not UTF-8")
        } else {
            Ok(ReceivedItem::Binary(payload))
        }
    }

    /// Returns the next message, which must be text.
    ///
    /// # Errors
    /// Something else arrived.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        match self.next().await? {
            ReceivedItem::Text(text) => Ok(text),
            other => bail!("expected a text message, got {other:?}"),
        }
    }

    /// Returns the code and reason of a close frame, which must be the next item.
    ///
    /// # Errors
    /// Something else arrived.
    pub async fn expect_close(&mut self) -> anyhow::Result<(u16, String)> {
        match self.next().await? {
            ReceivedItem::Close(code, reason) => Ok((code, reason)),
            other => bail!("expected a close frame, got {other:?}"),
        }
    }

    /// Checks that earlier frames had no reply: nothing arrives before the reply to a request sent now.
    ///
    /// # Errors
    /// Something arrived.
    pub async fn expect_no_reply(&mut self) -> anyhow::Result<()> {
        let reply = self.request_directive(json!({"return": {"statusCode": 200, "body": "the barrier"}})).await?;
        ensure!(reply == "the barrier", "expected no reply, got {reply:?}");
        Ok(())
    }

    /// Closes with or without a status, and waits for the server's close frame.
    ///
    /// # Errors
    /// The server does not answer the close frame.
    pub async fn close(&mut self, status: Option<(u16, &str)>) -> anyhow::Result<()> {
        self.send(&[RawFrame::close(status)]).await?;
        while !matches!(self.next().await?, ReceivedItem::Close(..) | ReceivedItem::End) {}
        Ok(())
    }

    /// Returns the underlying byte connection.
    pub const fn wire(&mut self) -> &mut WireConnection {
        &mut self.wire
    }
}

fn close(payload: &[u8]) -> anyhow::Result<ReceivedItem> {
    let (code, reason) = websocket::close_status(payload).unwrap_or((1005, &[]));
    Ok(ReceivedItem::Close(code, String::from_utf8(reason.to_vec())?))
}
