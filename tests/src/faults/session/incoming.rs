//! What arrives on a connection: into the ledger, and into where the client stands.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::channel_positions::OffsetDecision;
use super::super::recorder::Interruption;
use super::super::wire::ServerFrame;
use super::{ClientSession, ResumeState, StopReason};

/// How long a client waits before it repeats what was answered `unavailable`.
const RETRY_DELAY: Duration = Duration::from_millis(500);

impl ClientSession<'_> {
    pub(super) fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), StopReason> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.last_frame = Instant::now();
                self.handle_frame(&text)
            }
            Some(Ok(Message::Close(frame))) => Err(StopReason::Closed(frame.map_or(1005, |frame| frame.code.into()))),
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(StopReason::Closed(1006)),
        }
    }

    fn handle_frame(&mut self, text: &str) -> Result<(), StopReason> {
        match ServerFrame::read(text) {
            Some(ServerFrame::Message { channel, epoch: Some(epoch), offset: Some(offset), id: Some(id) }) => {
                self.message(&channel, &epoch, offset, &id);
            }
            Some(ServerFrame::Welcome { connection }) => self.welcome(connection),
            Some(ServerFrame::Resumed { channels }) => {
                let ends = channels.iter().map(|(name, end)| (name, end.epoch.as_str(), end.offset));
                let behind = self.client.places.observe_heads(ends);
                self.resumed(behind);
            }
            Some(ServerFrame::Ack { id, channel: Some(channel), epoch: Some(epoch), offset: Some(offset) }) => {
                if self.client.outstanding.take_if(|outstanding| outstanding.id == id).is_some() {
                    self.client.ledger.record_ack(&channel, &epoch, offset, &id);
                }
            }
            Some(ServerFrame::Gap { channel, epoch, from, to, reason }) => {
                self.gap(channel, &epoch, (from, to), &reason)
            }
            Some(ServerFrame::Reconnect { within_ms }) => self.within = Some(Duration::from_millis(within_ms)),
            Some(ServerFrame::Degraded { state }) if state == "began" => {
                self.client.ledger.update_counts(|counts| counts.degraded += 1)
            }
            Some(ServerFrame::Error { code, id }) => return self.handle_error(&code, id.as_deref()),
            Some(_) => {}
            // API Gateway's own error: whatever was under way may or may not have been carried out.
            None => {
                self.client.ledger.update_counts(|counts| counts.repeated += 1);
                self.schedule_retry();
            }
        }
        Ok(())
    }

    fn welcome(&mut self, connection: String) {
        self.client.places.finish_resume();
        if self.connection.is_none() {
            self.client.ledger.record_open(&connection);
            self.connection = Some(connection);
        }
    }

    fn resumed(&mut self, behind: Vec<String>) {
        self.resume = ResumeState::Done;
        self.served = true;
        if let Some((since, code)) = self.client.disconnected_since.take() {
            self.client.ledger.record_interruption(Interruption { code, took: since.elapsed() });
        }
        if self.last {
            // Nothing is under way any more that the answer could have overtaken.
            behind.into_iter().for_each(|channel| self.mark_missing(channel));
        }
    }

    fn message(&mut self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let ledger = &self.client.ledger;
        match self.client.places.observe_message(channel, epoch, offset) {
            OffsetDecision::Apply => ledger.record_delivery(channel, epoch, offset, id),
            OffsetDecision::Discard => ledger.update_counts(|counts| counts.dropped += 1),
            OffsetDecision::OutOfOrder => self.mark_missing(channel.to_owned()),
            OffsetDecision::EpochConflict => {
                ledger.record_violation(format!("the epoch of {channel} changed without a gap"))
            }
        }
    }

    /// Something is missing of a channel: it is asked for in a moment.
    fn mark_missing(&mut self, channel: String) {
        let (_, channels) = self.missing_since.get_or_insert_with(|| (Instant::now(), BTreeSet::new()));
        if channels.insert(channel) {
            self.client.ledger.update_counts(|counts| counts.out_of_order += 1);
        }
    }

    fn gap(&mut self, channel: String, epoch: &str, (from, to): (u64, u64), reason: &str) {
        self.client.ledger.update_counts(|counts| counts.gaps += 1);
        if matches!(reason, "slow" | "unavailable") {
            // The log still has it.
            return self.mark_missing(channel);
        }
        if !self.client.places.observe_gap(&channel, epoch, from, to) {
            self.client.ledger.record_epoch_loss(&channel, reason);
        }
    }

    fn handle_error(&mut self, code: &str, id: Option<&str>) -> Result<(), StopReason> {
        match code {
            "unavailable" => self.client.ledger.update_counts(|counts| counts.unavailable += 1),
            // The server has given this connection up.
            "gone" => return Err(StopReason::Closed(1006)),
            _ => self.client.ledger.record_violation(format!("a client was answered {code} to {id:?}")),
        }
        self.schedule_retry();
        Ok(())
    }

    /// What is under way is asked again, soon.
    fn schedule_retry(&mut self) {
        let due = Instant::now() + RETRY_DELAY;
        match self.resume {
            ResumeState::Sent(_) | ResumeState::Due(_) => self.resume = ResumeState::Due(due),
            ResumeState::Done => {
                if let Some(outstanding) = &mut self.client.outstanding {
                    (outstanding.sent_at, outstanding.due) = (None, due);
                }
            }
        }
    }
}
