//! Byte connection to an endpoint: TCP or TLS, HTTP heads, and WebSocket frames of [`crate::websocket`].
//!
//! It implements RFC 6455 and RFC 9112 directly, because a WebSocket library hides details that the cases check (the
//! exact `101`, fragments, close codes) and refuses to send invalid input (unmasked frames, invalid UTF-8). Every
//! read has a timeout.

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

/// Maximum length of a response head in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Maximum length of a body or of other data read to its end, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Connection to an endpoint.
pub struct WireConnection {
    stream: Box<dyn Stream>,
    read: BytesMut,
    read_timeout: Duration,
}

impl WireConnection {
    /// Connects to `endpoint`; each read times out after `read_timeout`.
    ///
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn open(endpoint: &EndpointAddress, read_timeout: Duration) -> anyhow::Result<Self> {
        let stream = timeout(read_timeout, endpoint.connect()).await.context("connecting took too long")??;
        Ok(Self { stream, read: BytesMut::new(), read_timeout })
    }

    /// Sends `bytes` unchanged.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.read_timeout, sending).await.context("the endpoint does not read")??)
    }

    /// Reads a response head.
    ///
    /// # Errors
    /// The connection ended early, or the data is not an HTTP response.
    pub async fn head(&mut self) -> anyhow::Result<ResponseHead> {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let raw = self.read.split_to(end + 4);
                return ResponseHead::parse(&raw);
            }
            if self.read.len() > MAX_HEAD_BYTES || !self.fill().await? {
                bail!("no response head in {} bytes", self.read.len());
            }
        }
    }

    /// Reads the body of `head`, or up to the end of the connection without a content length.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn body(&mut self, head: &ResponseHead) -> anyhow::Result<Bytes> {
        let length = head.header("content-length").map(str::parse).transpose().context("invalid content-length")?;
        let wanted: usize = length.unwrap_or(if head.status == 204 { 0 } else { MAX_BODY_BYTES });
        while self.read.len() < wanted {
            if !self.fill().await? {
                break;
            }
        }
        let length = wanted.min(self.read.len());
        Ok(self.read.split_to(length).freeze())
    }

    /// Reads one frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// Nothing arrived within the timeout.
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

    /// Returns whether data arrives within `wait`; the data stays in the buffer.
    pub async fn has_input_within(&mut self, wait: Duration) -> bool {
        !self.read.is_empty() || matches!(timeout(wait, self.fill()).await, Ok(Ok(true)))
    }

    /// Reads up to the end of the connection.
    ///
    /// # Errors
    /// The connection does not end.
    pub async fn read_to_end(&mut self) -> anyhow::Result<Bytes> {
        while self.read.len() < MAX_BODY_BYTES && self.fill().await? {}
        Ok(self.read.split().freeze())
    }

    /// Reads more data; `false` at the end of the connection. A reset counts as the end.
    async fn fill(&mut self) -> anyhow::Result<bool> {
        let reading = self.stream.read_buf(&mut self.read);
        match timeout(self.read_timeout, reading).await {
            Ok(Ok(bytes)) => Ok(bytes > 0),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => bail!("nothing arrived within {:?}", self.read_timeout),
        }
    }
}
