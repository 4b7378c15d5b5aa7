//! One connection of a client that counts: resume, read, send, until it ends.
//!
//! Invariant: everything that arrives is in the ledger before the next thing is read. Every wait has an end: what is not
//! answered within [`ANSWER`] ends the connection, as a client does whose server hangs.

mod incoming;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::participant::{Outstanding, Participant, Phase};

/// How long an answer may take: longer than the longest deadline of the server.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a client waits for a message that is late before it asks for it.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a client that was told nothing waits at most before it comes back.
const UNTOLD: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum Ending {
    /// The client is done.
    Left,
    /// The server told it to come back, within this time.
    SentAway { within: Duration },
    /// It broke, or was closed for another reason; whether a resume had been answered.
    Lost { served: bool },
}

/// Why serving stopped.
enum Stop {
    Left,
    Closed(u16),
}

/// How far the resume is.
enum Resume {
    Asked(Instant),
    /// It was answered `unavailable`.
    Due(Instant),
    Done,
}

/// An open connection.
pub(super) struct Session<'a> {
    client: &'a mut Participant,
    socket: WebSocketStream<TcpStream>,
    connection: Option<String>,
    last_frame: Instant,
    resume: Resume,
    /// The resume was asked for when nothing was sent any more.
    last: bool,
    served: bool,
    /// Channels of which something was left out, since when.
    behind: Option<(Instant, BTreeSet<String>)>,
    within: Option<Duration>,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: &'a mut Participant, socket: WebSocketStream<TcpStream>) -> Self {
        let now = Instant::now();
        if let Some(outstanding) = &mut client.outstanding {
            (outstanding.asked, outstanding.due) = (None, now);
        }
        let (resume, last) = (Resume::Due(now), false);
        Self {
            client,
            socket,
            connection: None,
            last_frame: now,
            resume,
            last,
            served: false,
            behind: None,
            within: None,
        }
    }

    /// Serves the client to the connection's end.
    pub(super) async fn run(mut self) -> Ending {
        let stop = loop {
            let due = self.due();
            let step = tokio::select! {
                message = self.socket.next() => self.receive(message),
                () = sleep_until(due) => self.act().await,
                changed = self.client.phase.changed() => if changed.is_ok() { Ok(()) } else { Err(Stop::Left) },
            };
            if let Err(stop) = step {
                break stop;
            }
        };
        let ledger = &self.client.ledger;
        if let Some(connection) = &self.connection {
            ledger.closed(connection);
        }
        let Stop::Closed(code) = stop else { return Ending::Left };
        ledger.count(|counts| *counts.ended.entry(code).or_default() += 1);
        self.client.away.get_or_insert((self.last_frame, code));
        if code == 1012 {
            return Ending::SentAway { within: self.within.unwrap_or(UNTOLD) };
        }
        Ending::Lost { served: self.served }
    }

    /// When something is to be done if nothing comes.
    fn due(&self) -> Instant {
        let idle = Instant::now() + ANSWER;
        match self.resume {
            Resume::Asked(since) => return since + ANSWER,
            Resume::Due(due) => return due,
            Resume::Done => {}
        }
        let behind = self.behind.as_ref().map_or(idle, |(since, _)| *since + MOMENT);
        let sending = match (&self.client.outstanding, *self.client.phase.borrow()) {
            (Some(Outstanding { asked: Some(asked), .. }), _) => *asked + ANSWER,
            (Some(Outstanding { due, .. }), _) => *due,
            (None, Phase::Talk) => self.client.next_message,
            (None, Phase::Hush) => idle,
            (None, Phase::Leave) => Instant::now(),
        };
        behind.min(sending)
    }

    /// Does what is due.
    async fn act(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        match self.resume {
            Resume::Asked(since) if since + ANSWER <= now => return Err(Stop::Closed(0)),
            Resume::Asked(_) => return Ok(()),
            Resume::Due(due) if due <= now => return self.ask(None).await,
            Resume::Due(_) => return Ok(()),
            Resume::Done => {}
        }
        if let Some((_, channels)) = self.behind.take_if(|(since, _)| *since + MOMENT <= now) {
            return self.ask(Some(channels.into_iter().collect())).await;
        }
        let phase = *self.client.phase.borrow();
        match &self.client.outstanding {
            Some(Outstanding { asked: Some(asked), .. }) if *asked + ANSWER <= now => return Err(Stop::Closed(0)),
            Some(Outstanding { asked: None, due, .. }) if *due <= now => return self.say(now).await,
            Some(_) => return Ok(()),
            None => {}
        }
        match phase {
            Phase::Talk if self.client.next_message <= now => {
                self.client.compose(now);
                self.say(now).await
            }
            Phase::Leave if self.last && self.behind.is_none() => self.leave().await,
            Phase::Leave => self.ask(None).await,
            Phase::Talk | Phase::Hush => Ok(()),
        }
    }

    /// Asks for what was missed, of all channels or some.
    async fn ask(&mut self, only: Option<Vec<String>>) -> Result<(), Stop> {
        self.resume = Resume::Asked(Instant::now());
        self.last = only.is_none() && *self.client.phase.borrow() == Phase::Leave;
        let channels = self.client.places.resume(only.as_deref());
        self.send(json!({"action": "resume", "id": "resume", "channels": channels}).to_string()).await
    }

    /// Sends the message that waits.
    async fn say(&mut self, now: Instant) -> Result<(), Stop> {
        let Some(outstanding) = &mut self.client.outstanding else { return Ok(()) };
        outstanding.asked = Some(now);
        let Outstanding { id, target, .. } = outstanding;
        let frame = json!({"action": "send", "to": target, "id": id, "body": {"by": self.client.role.number}});
        self.send(frame.to_string()).await
    }

    async fn send(&mut self, text: String) -> Result<(), Stop> {
        match timeout(ANSWER, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            // The reason is read next, if there is one.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(Stop::Closed(0)),
        }
    }

    async fn leave(&mut self) -> Result<(), Stop> {
        let closing = async {
            self.socket.close(None).await?;
            while self.socket.next().await.transpose()?.is_some() {}
            Ok::<_, Error>(())
        };
        // However it ends, nothing more is wanted of it.
        let _ = timeout(ANSWER, closing).await;
        Err(Stop::Left)
    }
}
