//! Export and import of in-memory logs.

use async_trait::async_trait;

use super::{MAX_LOG_CHANNELS, MemoryLog, TooManyChannelsError};
use crate::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use crate::channel::{Channel, Offset};
use crate::ports::{LogError, LogRange, LogSlice, MessageLog};

#[async_trait]
impl LogArchive for MemoryLog {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        let channels = self.channels.lock();
        let mut found: Vec<Channel> =
            channels.iter().filter(|(_, log)| log.head > Offset::START).map(|(channel, _)| channel.clone()).collect();
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        self.read(channel, LogRange::After(after), limits.max_entries, limits.max_bytes).await
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        let mut channels = self.channels.lock();
        if channels.len() >= MAX_LOG_CHANNELS && !channels.contains_key(&segment.channel) {
            return Err(LogError::Full(Box::new(TooManyChannelsError)).into());
        }
        let log = channels.entry(segment.channel.clone()).or_default();
        let epoch = log.epoch.as_ref().unwrap_or(&self.epoch);
        let rest = segment.remaining_entries(epoch, log.head)?;
        if log.head == Offset::START {
            (log.head, log.epoch) = (segment.after, Some(segment.epoch.clone()));
        }
        rest.iter().for_each(|entry| log.push_entry(entry.clone()));
        Ok(())
    }
}
