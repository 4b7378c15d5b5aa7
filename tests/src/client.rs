//! A client of the wire protocol on a real socket, for tests.
//!
//! Every frame is checked on arrival, whether or not the test reads it: a message that repeats an offset or goes back
//! in its channel fails the test ([`ReceivedState`]). Where the gateway does not order messages the client reorders
//! them ([`DeliveryOrder`]). Errors panic with a sentence. The client does not reconnect by itself; tests do that,
//! and pass the old client's [`ReceivedState`] to the new one.

mod delivery_order;
mod dial;
pub mod http;
pub(crate) mod positions;
pub mod raw;
mod received_state;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

pub use self::delivery_order::DeliveryOrder;
use self::delivery_order::ReorderBuffer;
pub use self::dial::{ClientHandshake, HandshakeRejection};
pub use self::received_state::ReceivedState;
use crate::eventually::with_timeout;

/// Maximum number of unread frames; a test that leaves more unread is wrong.
const MAX_INBOX_FRAMES: usize = 100_000;

/// End of a connection as observed by its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedClose {
    /// Code of the close frame; 1006 without one (RFC 6455, section 7.1.5).
    pub code: u16,
    /// Reason of the close frame.
    pub reason: String,
}

/// An open connection.
pub struct Client {
    name: String,
    socket: WebSocketStream<TcpStream>,
    /// Frames that are in order and were not read.
    ready: VecDeque<Value>,
    inbox: VecDeque<Value>,
    reorder: ReorderBuffer,
    seen: ReceivedState,
}

/// Returns a frame id that is unique in this test process.
#[must_use]
pub fn fresh_id() -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    format!("t-{}", DRAWN.fetch_add(1, Ordering::Relaxed))
}

/// Returns the frame's `type`.
#[must_use]
pub fn type_of(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

impl Client {
    /// Sends text unchanged.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a frame without waiting for a reply.
    pub async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends a frame; returns `false` when the connection is broken, which crash tests expect.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        with_timeout("the server to read a message", self.socket.send(Message::text(frame.to_string()))).await.is_ok()
    }

    /// Sends any WebSocket message.
    pub async fn send_message(&mut self, message: Message) {
        let name = &self.name;
        let sent = with_timeout("the server to read a message", self.socket.send(message)).await;
        sent.unwrap_or_else(|error| panic!("{name} could not send: {error}"));
    }

    /// Sends many texts with one flush.
    pub async fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            with_timeout("the server to read a message", self.socket.feed(Message::text(text)))
                .await
                .expect("the socket is open");
        }
        with_timeout("the server to read messages", self.socket.flush()).await.expect("the socket is open");
    }

    /// Sends a frame, with a fresh `id` if it has none, and returns its reply: the frame with the same `id` that is
    /// not a message. Earlier frames stay in the inbox.
    pub async fn request(&mut self, mut frame: Value) -> Value {
        let id = frame["id"].as_str().map_or_else(fresh_id, str::to_owned);
        frame["id"] = Value::from(id.as_str());
        self.send(&frame).await;
        self.reply_to(&id).await
    }

    /// Returns the reply to the frame `id`.
    pub async fn reply_to(&mut self, id: &str) -> Value {
        let is_reply = |frame: &Value| frame["id"] == id && type_of(frame) != "message";
        self.next_where(&format!("a reply to {id}"), is_reply).await
    }

    /// Sends a message to a channel and returns its `ack`.
    pub async fn send_to_channel(&mut self, channel: &str, body: impl Into<Value>) -> Value {
        let ack = self.request(json!({"action": "send", "to": channel, "body": body.into()})).await;
        assert_eq!(type_of(&ack), "ack", "{}'s message to {channel} was not acknowledged: {ack}", self.name);
        ack
    }

    /// Sends a frame that must be rejected and returns the error code.
    pub async fn expect_error(&mut self, frame: Value) -> String {
        let reply = self.request(frame).await;
        assert_eq!(type_of(&reply), "error", "{}'s frame was not rejected: {reply}", self.name);
        reply["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Joins rooms (`join`) or subscribes to topics (`subscribe`) and returns the reply.
    pub async fn join_channels(&mut self, action: &str, channels: &[&str]) -> Value {
        let reply = self.request(json!({"action": action, "channels": channels})).await;
        let expected = if action == "join" { "members" } else { "ack" };
        assert_eq!(type_of(&reply), expected, "{} could not {action} {channels:?}: {reply}", self.name);
        reply
    }

    /// Leaves rooms (`leave`) or topics (`unsubscribe`).
    pub async fn leave_channels(&mut self, action: &str, channels: &[&str]) -> Value {
        let reply = self.request(json!({"action": action, "channels": channels})).await;
        assert_eq!(type_of(&reply), "ack", "{} could not {action} {channels:?}: {reply}", self.name);
        channels.iter().for_each(|channel| self.seen.clear_channel(channel));
        reply
    }

    /// Resumes channels from their position in [`ReceivedState`] (without a position: from the head) and returns
    /// `resumed`. Missed messages go to the inbox. Live messages before `welcome` are ignored, as `docs/PROTOCOL.md`
    /// requires of clients.
    pub async fn resume(&mut self, channels: &[&str]) -> Value {
        let positions = self.seen.positions().resume(channels.iter().copied());
        let resumed = self.request(json!({"action": "resume", "channels": positions})).await;
        assert_eq!(type_of(&resumed), "resumed", "{} could not resume: {resumed}", self.name);
        resumed
    }

    /// Returns the next frame.
    pub async fn next(&mut self) -> Value {
        self.next_where("a frame", |_| true).await
    }

    /// Returns the next frame of a type; earlier frames of other types stay in the inbox.
    pub async fn next_of_type(&mut self, wanted: &str) -> Value {
        self.next_where(&format!("a frame of type {wanted}"), |frame| type_of(frame) == wanted).await
    }

    /// Returns the bodies of the next `count` messages of a channel.
    pub async fn bodies(&mut self, channel: &str, count: usize) -> Vec<Value> {
        let mut bodies = Vec::with_capacity(count);
        for _ in 0..count {
            let of_channel = |frame: &Value| type_of(frame) == "message" && frame["channel"] == channel;
            bodies.push(self.next_where(&format!("a message of {channel}"), of_channel).await["body"].take());
        }
        bodies
    }

    /// Returns the oldest unread frame of the inbox; reads nothing from the socket.
    pub fn pop_unread(&mut self) -> Option<Value> {
        self.inbox.pop_front()
    }

    /// Returns the first frame that `wanted` accepts, from the inbox or the socket.
    pub async fn next_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(frame) = self.inbox.iter().position(&wanted).and_then(|index| self.inbox.remove(index)) {
            return frame;
        }
        let what = format!("{} to receive {what}", self.name);
        with_timeout(&what, async {
            loop {
                let frame = self.read().await.unwrap_or_else(|end| panic!("no {what}: closed with {end:?}"));
                if wanted(&frame) {
                    return frame;
                }
                assert!(self.inbox.len() < MAX_INBOX_FRAMES, "{} left {MAX_INBOX_FRAMES} frames unread", self.name);
                self.inbox.push_back(frame);
            }
        })
        .await
    }

    /// Reads everything that the server sent to this connection before this call and returns the unread frames. The
    /// `pong` arrives after all frames that were queued before it.
    pub async fn drain_inbox(&mut self) -> Vec<Value> {
        let pong = self.request(json!({"action": "ping"})).await;
        assert_eq!(type_of(&pong), "pong", "{} did not receive a pong: {pong}", self.name);
        self.inbox.drain(..).collect()
    }

    /// Sends a WebSocket ping and waits for its pong.
    pub async fn ping(&mut self, payload: &'static [u8]) {
        self.send_message(Message::Ping(Bytes::from_static(payload))).await;
        with_timeout("a pong", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Pong(answered))) => return assert_eq!(answered, payload),
                    Some(Ok(Message::Text(text))) => {
                        let frames = self.check_frame(&text);
                        self.inbox.extend(frames);
                    }
                    other => panic!("{} received {other:?} instead of a pong", self.name),
                }
            }
        })
        .await;
    }

    /// Waits until the server closes the connection; earlier frames go to the inbox.
    pub async fn wait_closed(&mut self) -> ObservedClose {
        let what = format!("the server to close {}'s connection", self.name);
        with_timeout(&what, async {
            loop {
                match self.read().await {
                    Ok(frame) => self.inbox.push_back(frame),
                    Err(end) => return end,
                }
            }
        })
        .await
    }

    /// Closes with 1000 and fails if messages are missing without a `gap` frame.
    pub async fn close(mut self) -> ReceivedState {
        with_timeout("the closing handshake", self.socket.close(None)).await.expect("the socket is open");
        while with_timeout("the server's close frame", self.read()).await.is_ok() {}
        self.seen.assert_complete(&self.name);
        self.seen
    }

    /// Drops the connection without a close frame, as a phone that loses its network does.
    pub fn drop_abruptly(self) -> ReceivedState {
        self.seen
    }

    /// Returns the positions that this client has received of each channel.
    #[must_use]
    pub const fn received_state(&self) -> &ReceivedState {
        &self.seen
    }

    /// Returns the local port, which the server sees as this connection's source port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket.get_ref().local_addr().expect("an open socket has an address").port()
    }

    /// Returns the next frame from the socket, or the end of the connection.
    pub async fn read(&mut self) -> Result<Value, ObservedClose> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frames = self.check_frame(&text);
                    self.ready.extend(frames);
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(ObservedClose { code: frame.code.into(), reason: frame.reason.as_str().to_owned() });
                }
                Some(Ok(Message::Close(None))) => return Err(ObservedClose { code: 1005, reason: String::new() }),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("{} received {other:?}, which no server of this protocol sends", self.name),
                Some(Err(Error::Capacity(error))) => panic!("{} received too much at once: {error}", self.name),
                Some(Err(_)) | None => return Err(ObservedClose { code: 1006, reason: String::new() }),
            }
        }
    }

    /// Checks an arriving frame and returns the frames to deliver: none when a resume covers the message or it is
    /// early, several when the frame completes the order of buffered ones.
    fn check_frame(&mut self, text: &str) -> Vec<Value> {
        let frame: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{} received invalid JSON: {error}", self.name));
        if type_of(&frame) == "welcome" {
            self.seen.positions().end_resume();
        }
        let channel = frame["channel"].as_str().unwrap_or_default();
        if type_of(&frame) == "message" && self.seen.positions().is_resuming(channel) {
            return Vec::new();
        }
        self.reorder.accept_frame(&mut self.seen, &self.name, frame)
    }
}
