//! A client of the wire protocol on a real socket, for tests.
//!
//! Invariant: every frame that arrives is checked on the way in: a message that repeats or steps back in its channel fails
//! the test ([`ReceivedState`]), whether or not the test looks at it. Only where the gateway orders nothing the client does
//! ([`DeliveryOrder`]). Failures panic with a sentence, because a test has nothing
//! else to do with them. It does not reconnect by itself; tests do that, and hand the old client's [`ReceivedState`] on.

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

/// Most frames that wait to be looked at. A test that leaves more behind has lost its way.
const MAX_INBOX_FRAMES: usize = 100_000;

/// How a connection ended, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedClose {
    /// The code of the close frame; 1006 when there was none (RFC 6455, section 7.1.5).
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

/// An open connection.
pub struct Client {
    name: String,
    socket: WebSocketStream<TcpStream>,
    /// What has arrived, is in order, and was not read.
    arrived: VecDeque<Value>,
    inbox: VecDeque<Value>,
    line: ReorderBuffer,
    seen: ReceivedState,
}

/// A frame id that no other frame of this test process has.
#[must_use]
pub fn fresh_id() -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    format!("t-{}", DRAWN.fetch_add(1, Ordering::Relaxed))
}

/// The frame's `type`.
#[must_use]
pub fn type_of(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

impl Client {
    /// Puts text on the wire as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a frame and waits for nothing.
    pub async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends a frame; `false` when the connection is broken, which a test of crashes expects.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        with_timeout("the server to take a message", self.socket.send(Message::text(frame.to_string()))).await.is_ok()
    }

    /// Sends any WebSocket message.
    pub async fn send_message(&mut self, message: Message) {
        let name = &self.name;
        let sent = with_timeout("the server to take a message", self.socket.send(message)).await;
        sent.unwrap_or_else(|error| panic!("{name} could not send: {error}"));
    }

    /// Puts many texts on the wire in one go.
    pub async fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            with_timeout("the server to take a message", self.socket.feed(Message::text(text)))
                .await
                .expect("the socket is open");
        }
        with_timeout("the server to take messages", self.socket.flush()).await.expect("the socket is open");
    }

    /// Sends a frame, with a fresh `id` if it has none, and returns its answer: the frame with the same `id` that is no
    /// message. What comes before it waits in the inbox.
    pub async fn request(&mut self, mut frame: Value) -> Value {
        let id = frame["id"].as_str().map_or_else(fresh_id, str::to_owned);
        frame["id"] = Value::from(id.as_str());
        self.send(&frame).await;
        self.reply_to(&id).await
    }

    /// The answer to the frame `id`.
    pub async fn reply_to(&mut self, id: &str) -> Value {
        let answers = |frame: &Value| frame["id"] == id && type_of(frame) != "message";
        self.next_where(&format!("an answer to {id}"), answers).await
    }

    /// Sends a message to a channel and returns its `ack`.
    pub async fn send_to_channel(&mut self, channel: &str, body: impl Into<Value>) -> Value {
        let ack = self.request(json!({"action": "send", "to": channel, "body": body.into()})).await;
        assert_eq!(type_of(&ack), "ack", "{}'s message to {channel} was not acknowledged: {ack}", self.name);
        ack
    }

    /// Sends a frame that has to be refused, and returns the code.
    pub async fn expect_error(&mut self, frame: Value) -> String {
        let answer = self.request(frame).await;
        assert_eq!(type_of(&answer), "error", "{}'s frame was not refused: {answer}", self.name);
        answer["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Enters rooms (`join`) or topics (`subscribe`) and returns the answer.
    pub async fn join_channels(&mut self, action: &str, channels: &[&str]) -> Value {
        let answer = self.request(json!({"action": action, "channels": channels})).await;
        let expected = if action == "join" { "members" } else { "ack" };
        assert_eq!(type_of(&answer), expected, "{} could not {action} {channels:?}: {answer}", self.name);
        answer
    }

    /// Leaves rooms (`leave`) or topics (`unsubscribe`).
    pub async fn leave_channels(&mut self, action: &str, channels: &[&str]) -> Value {
        let answer = self.request(json!({"action": action, "channels": channels})).await;
        assert_eq!(type_of(&answer), "ack", "{} could not {action} {channels:?}: {answer}", self.name);
        channels.iter().for_each(|channel| self.seen.clear_channel(channel));
        answer
    }

    /// Resumes channels from where [`ReceivedState`] stands (from now on, where it has seen nothing) and returns `resumed`. What
    /// was missed waits in the inbox. Live messages that come before `welcome` are left to the resume, as
    /// `docs/PROTOCOL.md` asks of clients.
    pub async fn resume(&mut self, channels: &[&str]) -> Value {
        let positions = self.seen.positions().resume(channels.iter().copied());
        let resumed = self.request(json!({"action": "resume", "channels": positions})).await;
        assert_eq!(type_of(&resumed), "resumed", "{} could not resume: {resumed}", self.name);
        resumed
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        self.next_where("a frame", |_| true).await
    }

    /// The next frame of a type; others before it stay in the inbox.
    pub async fn next_of_type(&mut self, wanted: &str) -> Value {
        self.next_where(&format!("a frame of type {wanted}"), |frame| type_of(frame) == wanted).await
    }

    /// The bodies of the next `count` messages of a channel.
    pub async fn bodies(&mut self, channel: &str, count: usize) -> Vec<Value> {
        let mut bodies = Vec::with_capacity(count);
        for _ in 0..count {
            let of_channel = |frame: &Value| type_of(frame) == "message" && frame["channel"] == channel;
            bodies.push(self.next_where(&format!("a message of {channel}"), of_channel).await["body"].take());
        }
        bodies
    }

    /// The oldest frame that has arrived and was not looked at; reads nothing from the wire.
    pub fn pop_unread(&mut self) -> Option<Value> {
        self.inbox.pop_front()
    }

    /// The first frame that is `wanted`, from the inbox or the wire.
    pub async fn next_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(frame) = self.inbox.iter().position(&wanted).and_then(|index| self.inbox.remove(index)) {
            return frame;
        }
        let what = format!("{} to receive {what}", self.name);
        with_timeout(&what, async {
            loop {
                let frame = self.read().await.unwrap_or_else(|ending| panic!("no {what}: closed with {ending:?}"));
                if wanted(&frame) {
                    return frame;
                }
                assert!(self.inbox.len() < MAX_INBOX_FRAMES, "{} left {MAX_INBOX_FRAMES} frames unread", self.name);
                self.inbox.push_back(frame);
            }
        })
        .await
    }

    /// Takes in everything that the server had handed to this connection before now, and returns what was not looked at.
    /// A `pong` comes behind everything that was in line.
    pub async fn drain_inbox(&mut self) -> Vec<Value> {
        let pong = self.request(json!({"action": "ping"})).await;
        assert_eq!(type_of(&pong), "pong", "{} got no pong: {pong}", self.name);
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
                    other => panic!("{} got {other:?} instead of a pong", self.name),
                }
            }
        })
        .await;
    }

    /// Waits for the server to end the connection; frames before that end up in the inbox.
    pub async fn wait_closed(&mut self) -> ObservedClose {
        let what = format!("the server to close {}'s connection", self.name);
        with_timeout(&what, async {
            loop {
                match self.read().await {
                    Ok(frame) => self.inbox.push_back(frame),
                    Err(ending) => return ending,
                }
            }
        })
        .await
    }

    /// Closes with 1000 and fails if the server left messages out without a `gap`.
    pub async fn close(mut self) -> ReceivedState {
        with_timeout("the closing handshake", self.socket.close(None)).await.expect("the socket is open");
        while with_timeout("the server's close frame", self.read()).await.is_ok() {}
        self.seen.assert_complete(&self.name);
        self.seen
    }

    /// Drops the connection without a word, as a phone in a tunnel does.
    pub fn drop_abruptly(self) -> ReceivedState {
        self.seen
    }

    /// What has been seen of each channel so far.
    #[must_use]
    pub const fn received_state(&self) -> &ReceivedState {
        &self.seen
    }

    /// The port that the server sees this connection come from.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket.get_ref().local_addr().expect("an open socket has an address").port()
    }

    /// The next frame off the wire, or how the connection ended.
    pub async fn read(&mut self) -> Result<Value, ObservedClose> {
        loop {
            if let Some(frame) = self.arrived.pop_front() {
                return Ok(frame);
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frames = self.check_frame(&text);
                    self.arrived.extend(frames);
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

    /// Checks a frame on its way in, and gives what it lets through: nothing when a resume makes it good, or when it came
    /// too early; more than itself when others had to wait for it.
    fn check_frame(&mut self, text: &str) -> Vec<Value> {
        let frame: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{} received no JSON: {error}", self.name));
        if type_of(&frame) == "welcome" {
            self.seen.positions().end_resume();
        }
        let channel = frame["channel"].as_str().unwrap_or_default();
        if type_of(&frame) == "message" && self.seen.positions().is_resuming(channel) {
            return Vec::new();
        }
        self.line.accept_frame(&mut self.seen, &self.name, frame)
    }
}
