//! Logs in memory as whoever moves them sees them.

use async_trait::async_trait;

use super::{CHANNELS, MemoryLog, TooManyChannels};
use crate::archive::{ImportError, LogArchive, Most, Stretch};
use crate::channel::{Channel, Offset};
use crate::ports::{LogError, MessageLog, Range, Slice};

#[async_trait]
impl LogArchive for MemoryLog {
    async fn channels(&self) -> Result<Vec<Channel>, LogError> {
        let channels = self.channels.lock();
        let mut found: Vec<Channel> =
            channels.iter().filter(|(_, log)| log.head > Offset::START).map(|(channel, _)| channel.clone()).collect();
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    async fn export(&self, channel: &Channel, after: Offset, most: Most) -> Result<Slice, LogError> {
        self.read(channel, Range::After(after), most.entries, most.bytes).await
    }

    async fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        let mut channels = self.channels.lock();
        if channels.len() >= CHANNELS && !channels.contains_key(&stretch.channel) {
            return Err(LogError::Full(Box::new(TooManyChannels)).into());
        }
        let log = channels.entry(stretch.channel.clone()).or_default();
        let told = log.epoch.as_ref().unwrap_or(&self.epoch);
        let rest = stretch.rest(told, log.head)?;
        if log.head == Offset::START {
            (log.head, log.epoch) = (stretch.from, Some(stretch.epoch.clone()));
        }
        rest.iter().for_each(|entry| log.add(entry.clone()));
        Ok(())
    }
}
