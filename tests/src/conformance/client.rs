//! A client of the endpoint: the handshake in every variation, frames, and what comes back.
//!
//! Invariant: a client sends exactly what its case says, whether or not the protocol allows it, and reads with a deadline.

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

/// Something that came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedItem {
    /// A text message, and into how many frames of what size it was cut.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: code (1005 when it has none) and reason.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// A handshake that was refused.
#[derive(Debug)]
pub struct RejectedHandshake {
    /// The response's head.
    pub head: ResponseHead,
    /// The response's body.
    pub body: Bytes,
}

/// An open WebSocket.
pub struct ConformanceClient {
    /// The `101`.
    pub head: ResponseHead,
    /// The sizes of the data frames that came so far.
    pub frame_sizes: Vec<usize>,
    /// How many messages came compressed so far.
    pub compressed_messages: usize,
    deflate: Option<Deflate>,
    wire: WireConnection,
}

impl ConformanceClient {
    /// Opens a connection.
    ///
    /// # Errors
    /// The endpoint cannot be reached or refuses.
    pub async fn open(place: &EndpointAddress, dial: HandshakeBuilder, patience: Duration) -> anyhow::Result<Self> {
        match Self::attempt(place, dial, patience).await? {
            Ok(client) => Ok(client),
            Err(refusal) => bail!("the handshake was refused: {refusal:?}"),
        }
    }

    /// Tries to open a connection; both ends are a result.
    ///
    /// # Errors
    /// The endpoint cannot be reached or gives no answer.
    pub async fn attempt(
        place: &EndpointAddress,
        dial: HandshakeBuilder,
        patience: Duration,
    ) -> anyhow::Result<Result<Self, RejectedHandshake>> {
        let mut wire = WireConnection::open(place, patience).await?;
        wire.send(&dial.request(place)).await?;
        let head = wire.head().await?;
        if head.status != 101 {
            let body = wire.body(&head).await?;
            return Ok(Err(RejectedHandshake { head, body }));
        }
        let agreed =
            head.header("sec-websocket-extensions").is_some_and(|value| value.starts_with("permessage-deflate"));
        let deflate = agreed.then(Deflate::default);
        Ok(Ok(Self { head, frame_sizes: Vec::new(), compressed_messages: 0, deflate, wire }))
    }

    /// Sends frames as they are.
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

    /// Sends to route `probe` (one-way) with what it is to do.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send_directive(&mut self, answer: Value) -> anyhow::Result<()> {
        self.send_json(&json!({"action": "probe", "answer": answer})).await
    }

    /// Sends to route `ask` (two-way) with what it is to do, and reads the text that comes back.
    ///
    /// # Errors
    /// The connection is broken, or something else came.
    pub async fn request_directive(&mut self, answer: Value) -> anyhow::Result<String> {
        self.send_json(&json!({"action": "ask", "answer": answer})).await?;
        self.text().await
    }

    /// The next message or control frame; fragments are put together.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn next(&mut self) -> anyhow::Result<ReceivedItem> {
        let mut message: Option<RawFrame> = None;
        loop {
            let Some(frame) = self.wire.frame().await? else { return Ok(ReceivedItem::End) };
            let may_be_compressed = self.deflate.is_some() && matches!(frame.opcode, opcode::TEXT | opcode::BINARY);
            let reserved = frame.reserved & if may_be_compressed { 0b011 } else { 0b111 };
            ensure!(
                !frame.masked && reserved == 0,
                "a server's frame must not be masked, nor compressed here: {frame:?}"
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
                Some(begun) => begun.payload.extend(frame.payload),
                None => message = Some(frame),
            }
            if let Some(whole) = message.take_if(|_| last) {
                return self.message(whole);
            }
        }
    }

    /// A data message whose frames were put together into one.
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

    /// The next message, which must be text.
    ///
    /// # Errors
    /// Something else came.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        match self.next().await? {
            ReceivedItem::Text(text) => Ok(text),
            other => bail!("expected a text message, got {other:?}"),
        }
    }

    /// The code and reason with which the server closes; it must be the next thing that comes.
    ///
    /// # Errors
    /// Something else came.
    pub async fn expect_close(&mut self) -> anyhow::Result<(u16, String)> {
        match self.next().await? {
            ReceivedItem::Close(code, reason) => Ok((code, reason)),
            other => bail!("expected a close frame, got {other:?}"),
        }
    }

    /// Checks that nothing came before the answer to a question asked now: what was sent before had no answer.
    ///
    /// # Errors
    /// Something came.
    pub async fn expect_no_reply(&mut self) -> anyhow::Result<()> {
        let answer = self.request_directive(json!({"return": {"statusCode": 200, "body": "the barrier"}})).await?;
        ensure!(answer == "the barrier", "expected silence, got {answer:?}");
        Ok(())
    }

    /// Closes with or without a status, and waits for the end.
    ///
    /// # Errors
    /// The server does not answer the close frame.
    pub async fn close(&mut self, status: Option<(u16, &str)>) -> anyhow::Result<()> {
        self.send(&[RawFrame::close(status)]).await?;
        while !matches!(self.next().await?, ReceivedItem::Close(..) | ReceivedItem::End) {}
        Ok(())
    }

    /// The bytes beneath.
    pub const fn wire(&mut self) -> &mut WireConnection {
        &mut self.wire
    }
}

fn close(payload: &[u8]) -> anyhow::Result<ReceivedItem> {
    let (code, reason) = websocket::close_status(payload).unwrap_or((1005, &[]));
    Ok(ReceivedItem::Close(code, String::from_utf8(reason.to_vec())?))
}
