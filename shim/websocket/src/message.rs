//! Results of reading a socket: messages and errors.

/// Error of a socket; nothing more can be read after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketError {
    /// A frame exceeds the limit (RFC 6455 section 7.4.1, 1009).
    FrameTooBig,
    /// A message, over all its frames, exceeds the limit (1009).
    MessageTooBig,
    /// Text is not UTF-8 (1007).
    InvalidUtf8,
    /// A compressed message cannot be decompressed (1007).
    InvalidDeflate,
    /// Any other violation of RFC 6455 (1002).
    Protocol,
    /// The stream ended or failed.
    ConnectionLost,
}

/// Message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketMessage {
    /// A text message, assembled from its frames.
    Text(String),
    /// The first frame of a binary message; its payload is ignored.
    Binary,
    /// A ping, whose pong has been enqueued, or a pong.
    PingOrPong,
    /// A close frame, whose echo has been enqueued: code and reason, if present.
    Close(Option<(u16, String)>),
}
