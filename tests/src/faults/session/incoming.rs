//! What arrives on a connection: into the ledger, and into where the client stands.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::ledger::Interruption;
use super::super::places::Step;
use super::super::wire::Frame;
use super::{Resume, Session, Stop};

/// How long a client waits before it repeats what was answered `unavailable`.
const AGAIN: Duration = Duration::from_millis(500);

impl Session<'_> {
    pub(super) fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), Stop> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.last_frame = Instant::now();
                self.take_in(&text)
            }
            Some(Ok(Message::Close(frame))) => Err(Stop::Closed(frame.map_or(1005, |frame| frame.code.into()))),
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(Stop::Closed(1006)),
        }
    }

    fn take_in(&mut self, text: &str) -> Result<(), Stop> {
        match Frame::read(text) {
            Some(Frame::Message { channel, epoch: Some(epoch), offset: Some(offset), id: Some(id) }) => {
                self.message(&channel, &epoch, offset, &id);
            }
            Some(Frame::Welcome { connection }) => self.welcome(connection),
            Some(Frame::Resumed { channels }) => {
                let ends = channels.iter().map(|(name, end)| (name, end.epoch.as_str(), end.offset));
                let behind = self.client.places.summary(ends);
                self.resumed(behind);
            }
            Some(Frame::Ack { id, channel: Some(channel), epoch: Some(epoch), offset: Some(offset) }) => {
                if self.client.outstanding.take_if(|outstanding| outstanding.id == id).is_some() {
                    self.client.ledger.acknowledged(&channel, &epoch, offset, &id);
                }
            }
            Some(Frame::Gap { channel, epoch, from, to, reason }) => self.gap(channel, &epoch, (from, to), &reason),
            Some(Frame::Reconnect { within_ms }) => self.within = Some(Duration::from_millis(within_ms)),
            Some(Frame::Degraded { state }) if state == "began" => {
                self.client.ledger.count(|counts| counts.degraded += 1)
            }
            Some(Frame::Error { code, id }) => return self.refused(&code, id.as_deref()),
            Some(_) => {}
            // API Gateway's own error: whatever was under way may or may not have been carried out.
            None => {
                self.client.ledger.count(|counts| counts.repeated += 1);
                self.again();
            }
        }
        Ok(())
    }

    fn welcome(&mut self, connection: String) {
        self.client.places.welcome();
        if self.connection.is_none() {
            self.client.ledger.opened(&connection);
            self.connection = Some(connection);
        }
    }

    fn resumed(&mut self, behind: Vec<String>) {
        self.resume = Resume::Done;
        self.served = true;
        if let Some((since, code)) = self.client.away.take() {
            self.client.ledger.interrupted(Interruption { code, took: since.elapsed() });
        }
        if self.last {
            // Nothing is under way any more that the answer could have overtaken.
            behind.into_iter().for_each(|channel| self.fall_behind(channel));
        }
    }

    fn message(&mut self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let ledger = &self.client.ledger;
        match self.client.places.message(channel, epoch, offset) {
            Step::Apply => ledger.shown(channel, epoch, offset, id),
            Step::Drop => ledger.count(|counts| counts.dropped += 1),
            Step::Jump => self.fall_behind(channel.to_owned()),
            Step::Contradiction => ledger.contradiction(format!("the epoch of {channel} changed without a gap")),
        }
    }

    /// Something is missing of a channel: it is asked for in a moment.
    fn fall_behind(&mut self, channel: String) {
        let (_, channels) = self.behind.get_or_insert_with(|| (Instant::now(), BTreeSet::new()));
        if channels.insert(channel) {
            self.client.ledger.count(|counts| counts.jumps += 1);
        }
    }

    fn gap(&mut self, channel: String, epoch: &str, (from, to): (u64, u64), reason: &str) {
        self.client.ledger.count(|counts| counts.gaps += 1);
        if matches!(reason, "slow" | "unavailable") {
            // The log still has it.
            return self.fall_behind(channel);
        }
        if !self.client.places.gap(&channel, epoch, from, to) {
            self.client.ledger.lost(&channel, reason);
        }
    }

    fn refused(&mut self, code: &str, id: Option<&str>) -> Result<(), Stop> {
        match code {
            "unavailable" => self.client.ledger.count(|counts| counts.unavailable += 1),
            // The server has given this connection up.
            "gone" => return Err(Stop::Closed(1006)),
            _ => self.client.ledger.contradiction(format!("a client was answered {code} to {id:?}")),
        }
        self.again();
        Ok(())
    }

    /// What is under way is asked again, soon.
    fn again(&mut self) {
        let due = Instant::now() + AGAIN;
        match self.resume {
            Resume::Asked(_) | Resume::Due(_) => self.resume = Resume::Due(due),
            Resume::Done => {
                if let Some(outstanding) = &mut self.client.outstanding {
                    (outstanding.asked, outstanding.due) = (None, due);
                }
            }
        }
    }
}
