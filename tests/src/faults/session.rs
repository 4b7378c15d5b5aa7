//! One connection of a client that counts: resume, read, send, until it ends.
//!
//! Invariant: everything that arrives is in the ledger before the next thing is read. Every wait has an end: what is not
//! answered within [`REPLY_TIMEOUT`] ends the connection, as a client does whose server hangs.

mod incoming;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::traffic_client::{PendingMessage, TrafficClient, TrafficPhase};

/// How long an answer may take: longer than the longest deadline of the server.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client waits for a message that is late before it asks for it.
const REORDER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client that was told nothing waits at most before it comes back.
const DEFAULT_RECONNECT_WINDOW: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum SessionEnd {
    /// The client is done.
    Left,
    /// The server told it to come back, within this time.
    Drained { within: Duration },
    /// It broke, or was closed for another reason; whether a resume had been answered.
    Lost { served: bool },
}

/// Why serving stopped.
enum StopReason {
    Left,
    Closed(u16),
}

/// How far the resume is.
enum ResumeState {
    Sent(Instant),
    /// It was answered `unavailable`.
    Due(Instant),
    Done,
}

/// An open connection.
pub(super) struct ClientSession<'a> {
    client: &'a mut TrafficClient,
    socket: WebSocketStream<TcpStream>,
    connection: Option<String>,
    last_frame: Instant,
    resume: ResumeState,
    /// The resume was asked for when nothing was sent any more.
    last: bool,
    served: bool,
    /// Channels of which something was left out, since when.
    missing_since: Option<(Instant, BTreeSet<String>)>,
    within: Option<Duration>,
}

impl<'a> ClientSession<'a> {
    pub(super) fn new(client: &'a mut TrafficClient, socket: WebSocketStream<TcpStream>) -> Self {
        let now = Instant::now();
        if let Some(outstanding) = &mut client.outstanding {
            (outstanding.sent_at, outstanding.due) = (None, now);
        }
        let (resume, last) = (ResumeState::Due(now), false);
        Self {
            client,
            socket,
            connection: None,
            last_frame: now,
            resume,
            last,
            served: false,
            missing_since: None,
            within: None,
        }
    }

    /// Serves the client to the connection's end.
    pub(super) async fn run(mut self) -> SessionEnd {
        let stop = loop {
            let due = self.next_deadline();
            let step = tokio::select! {
                message = self.socket.next() => self.receive(message),
                () = sleep_until(due) => self.run_due_action().await,
                changed = self.client.phase.changed() => if changed.is_ok() { Ok(()) } else { Err(StopReason::Left) },
            };
            if let Err(stop) = step {
                break stop;
            }
        };
        let ledger = &self.client.ledger;
        if let Some(connection) = &self.connection {
            ledger.record_close(connection);
        }
        let StopReason::Closed(code) = stop else { return SessionEnd::Left };
        ledger.update_counts(|counts| *counts.closes_by_code.entry(code).or_default() += 1);
        self.client.disconnected_since.get_or_insert((self.last_frame, code));
        if code == 1012 {
            return SessionEnd::Drained { within: self.within.unwrap_or(DEFAULT_RECONNECT_WINDOW) };
        }
        SessionEnd::Lost { served: self.served }
    }

    /// When something is to be done if nothing comes.
    fn next_deadline(&self) -> Instant {
        let idle = Instant::now() + REPLY_TIMEOUT;
        match self.resume {
            ResumeState::Sent(since) => return since + REPLY_TIMEOUT,
            ResumeState::Due(due) => return due,
            ResumeState::Done => {}
        }
        let behind = self.missing_since.as_ref().map_or(idle, |(since, _)| *since + REORDER_TIMEOUT);
        let sending = match (&self.client.outstanding, *self.client.phase.borrow()) {
            (Some(PendingMessage { sent_at: Some(asked), .. }), _) => *asked + REPLY_TIMEOUT,
            (Some(PendingMessage { due, .. }), _) => *due,
            (None, TrafficPhase::Sending) => self.client.next_message,
            (None, TrafficPhase::Quiescing) => idle,
            (None, TrafficPhase::Closing) => Instant::now(),
        };
        behind.min(sending)
    }

    /// Does what is due.
    async fn run_due_action(&mut self) -> Result<(), StopReason> {
        let now = Instant::now();
        match self.resume {
            ResumeState::Sent(since) if since + REPLY_TIMEOUT <= now => return Err(StopReason::Closed(0)),
            ResumeState::Sent(_) => return Ok(()),
            ResumeState::Due(due) if due <= now => return self.send_resume(None).await,
            ResumeState::Due(_) => return Ok(()),
            ResumeState::Done => {}
        }
        if let Some((_, channels)) = self.missing_since.take_if(|(since, _)| *since + REORDER_TIMEOUT <= now) {
            return self.send_resume(Some(channels.into_iter().collect())).await;
        }
        let phase = *self.client.phase.borrow();
        match &self.client.outstanding {
            Some(PendingMessage { sent_at: Some(asked), .. }) if *asked + REPLY_TIMEOUT <= now => {
                return Err(StopReason::Closed(0));
            }
            Some(PendingMessage { sent_at: None, due, .. }) if *due <= now => {
                return self.send_pending_message(now).await;
            }
            Some(_) => return Ok(()),
            None => {}
        }
        match phase {
            TrafficPhase::Sending if self.client.next_message <= now => {
                self.client.prepare_message(now);
                self.send_pending_message(now).await
            }
            TrafficPhase::Closing if self.last && self.missing_since.is_none() => self.close_connection().await,
            TrafficPhase::Closing => self.send_resume(None).await,
            TrafficPhase::Sending | TrafficPhase::Quiescing => Ok(()),
        }
    }

    /// Asks for what was missed, of all channels or some.
    async fn send_resume(&mut self, only: Option<Vec<String>>) -> Result<(), StopReason> {
        self.resume = ResumeState::Sent(Instant::now());
        self.last = only.is_none() && *self.client.phase.borrow() == TrafficPhase::Closing;
        let channels = self.client.places.start_resume(only.as_deref());
        self.send(json!({"action": "resume", "id": "resume", "channels": channels}).to_string()).await
    }

    /// Sends the message that waits.
    async fn send_pending_message(&mut self, now: Instant) -> Result<(), StopReason> {
        let Some(outstanding) = &mut self.client.outstanding else { return Ok(()) };
        outstanding.sent_at = Some(now);
        let PendingMessage { id, target, .. } = outstanding;
        let frame = json!({"action": "send", "to": target, "id": id, "body": {"by": self.client.role.number}});
        self.send(frame.to_string()).await
    }

    async fn send(&mut self, text: String) -> Result<(), StopReason> {
        match timeout(REPLY_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            // The reason is read next, if there is one.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(StopReason::Closed(0)),
        }
    }

    async fn close_connection(&mut self) -> Result<(), StopReason> {
        let closing = async {
            self.socket.close(None).await?;
            while self.socket.next().await.transpose()?.is_some() {}
            Ok::<_, Error>(())
        };
        // However it ends, nothing more is wanted of it.
        let _ = timeout(REPLY_TIMEOUT, closing).await;
        Err(StopReason::Left)
    }
}
