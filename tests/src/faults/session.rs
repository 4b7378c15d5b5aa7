//! One connection of a fault-injection client: resume, receive and send until the connection ends.
//!
//! Every frame is recorded before the next one is read. Every wait has a timeout: the client closes the connection
//! when no reply arrives within [`REPLY_TIMEOUT`], as if the server hangs.

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

/// Timeout of a reply: longer than the longest deadline of the server.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// Time that a client waits for a late message before it requests it.
const REORDER_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum reconnect delay of a client that received no `reconnect` frame.
const DEFAULT_RECONNECT_WINDOW: Duration = Duration::from_secs(1);

/// End of a connection.
pub(super) enum SessionEnd {
    /// The client has finished.
    Left,
    /// The server asked the client to reconnect within this time.
    Drained { within: Duration },
    /// The connection broke or was closed for another reason; `served` is true if a resume had completed.
    Lost { served: bool },
}

/// Reason why the session loop stopped.
enum StopReason {
    Left,
    Closed(u16),
}

/// State of the resume.
enum ResumeState {
    Sent(Instant),
    /// It was rejected as `unavailable` and is sent again at this time.
    Due(Instant),
    Done,
}

/// An open connection of a client.
pub(super) struct ClientSession<'a> {
    client: &'a mut TrafficClient,
    socket: WebSocketStream<TcpStream>,
    connection: Option<String>,
    last_frame: Instant,
    resume: ResumeState,
    /// Whether the resume was sent after the last message of the run.
    last: bool,
    served: bool,
    /// Channels with missing messages, and since when.
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

    /// Runs the session until the connection ends.
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
        let recorder = &self.client.recorder;
        if let Some(connection) = &self.connection {
            recorder.record_close(connection);
        }
        let StopReason::Closed(code) = stop else { return SessionEnd::Left };
        recorder.update_counts(|counts| *counts.closes_by_code.entry(code).or_default() += 1);
        self.client.disconnected_since.get_or_insert((self.last_frame, code));
        if code == 1012 {
            return SessionEnd::Drained { within: self.within.unwrap_or(DEFAULT_RECONNECT_WINDOW) };
        }
        SessionEnd::Lost { served: self.served }
    }

    /// Returns the time of the next action if no frame arrives.
    fn next_deadline(&self) -> Instant {
        let idle = Instant::now() + REPLY_TIMEOUT;
        match self.resume {
            ResumeState::Sent(since) => return since + REPLY_TIMEOUT,
            ResumeState::Due(due) => return due,
            ResumeState::Done => {}
        }
        let reorder_deadline = self.missing_since.as_ref().map_or(idle, |(since, _)| *since + REORDER_TIMEOUT);
        let send_deadline = match (&self.client.outstanding, *self.client.phase.borrow()) {
            (Some(PendingMessage { sent_at: Some(sent_at), .. }), _) => *sent_at + REPLY_TIMEOUT,
            (Some(PendingMessage { due, .. }), _) => *due,
            (None, TrafficPhase::Sending) => self.client.next_message,
            (None, TrafficPhase::Quiescing) => idle,
            (None, TrafficPhase::Closing) => Instant::now(),
        };
        reorder_deadline.min(send_deadline)
    }

    /// Runs the action that is due.
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
            Some(PendingMessage { sent_at: Some(sent_at), .. }) if *sent_at + REPLY_TIMEOUT <= now => {
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

    /// Requests missed messages, of all channels or some.
    async fn send_resume(&mut self, only: Option<Vec<String>>) -> Result<(), StopReason> {
        self.resume = ResumeState::Sent(Instant::now());
        self.last = only.is_none() && *self.client.phase.borrow() == TrafficPhase::Closing;
        let positions = self.client.channels.start_resume(only.as_deref());
        self.send(json!({"action": "resume", "id": "resume", "channels": positions}).to_string()).await
    }

    /// Sends the pending message.
    async fn send_pending_message(&mut self, now: Instant) -> Result<(), StopReason> {
        let Some(outstanding) = &mut self.client.outstanding else { return Ok(()) };
        outstanding.sent_at = Some(now);
        let PendingMessage { id, target, .. } = outstanding;
        self.client.recorder.record_send(id);
        let frame = json!({"action": "send", "to": target, "id": id, "body": {"by": self.client.role.number}});
        self.send(frame.to_string()).await
    }

    async fn send(&mut self, text: String) -> Result<(), StopReason> {
        match timeout(REPLY_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            // The close reason, if any, is read next.
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
        // The connection is discarded whether or not the closing handshake completes.
        let _ = timeout(REPLY_TIMEOUT, closing).await;
        Err(StopReason::Left)
    }
}
