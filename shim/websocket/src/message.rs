//! What reading a socket yields: messages, or the reason why there are no more.

/// Why nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketError {
    /// A frame over the limit (RFC 6455 section 7.4.1, 1009).
    FrameTooBig,
    /// A message over the limit, all its frames together (1009).
    MessageTooBig,
    /// Text that is not UTF-8 (1007).
    InvalidUtf8,
    /// A compressed message that does not inflate: data that is not what the frame says it is (1007).
    InvalidDeflate,
    /// Anything else that RFC 6455 forbids (1002).
    Protocol,
    /// The stream ended or broke.
    ConnectionLost,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketMessage {
    /// A text message, put together from its frames.
    Text(String),
    /// The first frame of a binary message; its payload is not looked at.
    Binary,
    /// A ping, answered already, or a pong.
    PingOrPong,
    /// A close frame, answered already: code and reason, if it had them.
    Close(Option<(u16, String)>),
}
