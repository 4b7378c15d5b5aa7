//! Bytes to and from an endpoint: one TCP or TLS connection, HTTP heads, and WebSocket frames of [`crate::websocket`].
//!
//! It is written from RFC 6455 and RFC 9112 rather than on a WebSocket library, because a library hides what the cases
//! look at (the exact `101`, fragments, close codes) and refuses to send what they have to send (unmasked frames, bad
//! UTF-8). Invariant: every read has a deadline.

pub mod deflate;
pub mod endpoint_address;
pub mod head;

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use self::endpoint_address::{EndpointAddress, Stream};
use self::head::ResponseHead;
use crate::websocket::RawFrame;

/// Most bytes of a response's head.
const HEAD_BYTES: usize = 64 * 1024;
/// Most bytes of anything that is read whole.
const BODY_BYTES: usize = 1024 * 1024;

/// A connection to an endpoint.
pub struct WireConnection {
    stream: Box<dyn Stream>,
    read: BytesMut,
    patience: Duration,
}

impl WireConnection {
    /// Connects to `place`; no read waits longer than `patience`.
    ///
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn open(place: &EndpointAddress, patience: Duration) -> anyhow::Result<Self> {
        let stream = timeout(patience, place.connect()).await.context("connecting took too long")??;
        Ok(Self { stream, read: BytesMut::new(), patience })
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.patience, sending).await.context("the endpoint does not read")??)
    }

    /// Reads a response's head.
    ///
    /// # Errors
    /// The connection ended before, or what came is no HTTP response.
    pub async fn head(&mut self) -> anyhow::Result<ResponseHead> {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let raw = self.read.split_to(end + 4);
                return ResponseHead::parse(&raw);
            }
            if self.read.len() > HEAD_BYTES || !self.fill().await? {
                bail!("no response head in {} bytes", self.read.len());
            }
        }
    }

    /// Reads the body that belongs to `head`, or to the end of the connection where no length is given.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn body(&mut self, head: &ResponseHead) -> anyhow::Result<Bytes> {
        let length = head.header("content-length").map(str::parse).transpose().context("a bad content-length")?;
        let wanted: usize = length.unwrap_or(if head.status == 204 { 0 } else { BODY_BYTES });
        while self.read.len() < wanted {
            if !self.fill().await? {
                break;
            }
        }
        let length = wanted.min(self.read.len());
        Ok(self.read.split_to(length).freeze())
    }

    /// Reads one frame; `None` when the connection ended instead.
    ///
    /// # Errors
    /// Nothing came in time.
    pub async fn frame(&mut self) -> anyhow::Result<Option<RawFrame>> {
        loop {
            if let Some((frame, bytes)) = RawFrame::parse(&self.read) {
                self.read.advance(bytes);
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Whether something can be read within `wait`; what came stays to be read.
    pub async fn has_input_within(&mut self, wait: Duration) -> bool {
        !self.read.is_empty() || matches!(timeout(wait, self.fill()).await, Ok(Ok(true)))
    }

    /// Reads everything up to the end of the connection.
    ///
    /// # Errors
    /// The connection does not end.
    pub async fn rest(&mut self) -> anyhow::Result<Bytes> {
        while self.read.len() < BODY_BYTES && self.fill().await? {}
        Ok(self.read.split().freeze())
    }

    /// Reads more; `false` at the end of the connection. A reset is an end: all that it says is that nobody is there.
    async fn fill(&mut self) -> anyhow::Result<bool> {
        let reading = self.stream.read_buf(&mut self.read);
        match timeout(self.patience, reading).await {
            Ok(Ok(bytes)) => Ok(bytes > 0),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("nothing came within {:?}", self.patience),
        }
    }
}
