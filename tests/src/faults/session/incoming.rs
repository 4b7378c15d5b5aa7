//! Handling of incoming frames: recorded, and applied to the client's positions.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::channel_positions::OffsetDecision;
use super::super::recorder::Interruption;
use super::super::server_frame::ServerFrame;
use super::{ClientSession, ResumeState, StopReason};

/// Delay before a request that was rejected as `unavailable` is repeated.
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
                let heads = channels.iter().map(|(name, head)| (name, head.epoch.as_str(), head.offset));
                let lagging = self.client.channels.observe_heads(heads);
                self.resumed(lagging);
            }
            Some(ServerFrame::Ack { id, channel: Some(channel), epoch: Some(epoch), offset: Some(offset) }) => {
                if self.client.outstanding.take_if(|outstanding| outstanding.id == id).is_some() {
                    self.client.recorder.record_ack(&channel, &epoch, offset, &id);
                }
            }
            Some(ServerFrame::Gap { channel, epoch, from, to, reason }) => {
                self.gap(channel, &epoch, (from, to), &reason)
            }
            Some(ServerFrame::Reconnect { within_ms }) => self.within = Some(Duration::from_millis(within_ms)),
            Some(ServerFrame::Degraded { state }) if state == "began" => {
                self.client.recorder.update_counts(|counts| counts.degraded += 1)
            }
            Some(ServerFrame::Error { code, id }) => return self.handle_error(&code, id.as_deref()),
            Some(_) => {}
            // API Gateway's own error: the pending request may or may not have been executed.
            None => {
                self.client.recorder.update_counts(|counts| counts.repeated += 1);
                self.schedule_retry();
            }
        }
        Ok(())
    }

    fn welcome(&mut self, connection: String) {
        self.client.channels.finish_resume();
        if self.connection.is_none() {
            self.client.recorder.record_open(&connection);
            self.connection = Some(connection);
        }
    }

    fn resumed(&mut self, lagging: Vec<String>) {
        self.resume = ResumeState::Done;
        self.served = true;
        if let Some((since, code)) = self.client.disconnected_since.take() {
            self.client.recorder.record_interruption(Interruption { code, took: since.elapsed() });
        }
        if self.last {
            // No message is in flight any more that the reply could have overtaken.
            lagging.into_iter().for_each(|channel| self.mark_missing(channel));
        }
    }

    fn message(&mut self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let recorder = &self.client.recorder;
        match self.client.channels.observe_message(channel, epoch, offset) {
            OffsetDecision::Apply => recorder.record_delivery(channel, epoch, offset, id),
            OffsetDecision::Discard => recorder.update_counts(|counts| counts.dropped += 1),
            OffsetDecision::OutOfOrder => self.mark_missing(channel.to_owned()),
            OffsetDecision::EpochConflict => {
                recorder.record_violation(format!("the epoch of {channel} changed without a gap frame"))
            }
        }
    }

    /// Marks a channel as incomplete, so that its messages are requested after the reorder timeout.
    fn mark_missing(&mut self, channel: String) {
        let (_, channels) = self.missing_since.get_or_insert_with(|| (Instant::now(), BTreeSet::new()));
        if channels.insert(channel) {
            self.client.recorder.update_counts(|counts| counts.out_of_order += 1);
        }
    }

    fn gap(&mut self, channel: String, epoch: &str, (from, to): (u64, u64), reason: &str) {
        self.client.recorder.update_counts(|counts| counts.gaps += 1);
        if matches!(reason, "slow" | "unavailable") {
            // The log still has it.
            return self.mark_missing(channel);
        }
        if !self.client.channels.observe_gap(&channel, epoch, from, to) {
            self.client.recorder.record_epoch_loss(&channel, reason);
        }
    }

    fn handle_error(&mut self, code: &str, id: Option<&str>) -> Result<(), StopReason> {
        match code {
            "unavailable" => self.client.recorder.update_counts(|counts| counts.unavailable += 1),
            // The server has dropped this connection.
            "gone" => {
                self.client.recorder.update_counts(|counts| counts.gone += 1);
                return Err(StopReason::Closed(1006));
            }
            _ => self.client.recorder.record_violation(format!("unexpected error {code} for {id:?}")),
        }
        self.schedule_retry();
        Ok(())
    }

    /// Schedules the pending request to be sent again.
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
