//! Epochs of the channels: the epoch of the file, or the one that a channel was imported with.
//!
//! They never change while a server has the file open; only [`FileArchive`](super::FileArchive) adds imported epochs.

use std::collections::HashMap;
use std::sync::Arc;

use handlers::channel::{Channel, Epoch};
use redb::{ReadTransaction, ReadableTable, TableError};

use super::error::FileLogError;
use super::tables::EPOCHS_TABLE;

/// Epochs of one file; clones share them.
#[derive(Debug, Clone)]
pub(super) struct ChannelEpochs {
    file_epoch: Epoch,
    imported: Arc<HashMap<Channel, Epoch>>,
}

impl ChannelEpochs {
    /// Loads the imported epochs. Their table does not exist in a file without imports.
    pub(super) fn load_epochs(file_epoch: Epoch, transaction: &ReadTransaction) -> Result<Self, FileLogError> {
        let mut imported = HashMap::new();
        match transaction.open_table(EPOCHS_TABLE) {
            Ok(table) => {
                for row in table.iter()? {
                    let (key, epoch) = row?;
                    let channel =
                        Channel::from_key(key.value()).map_err(|_| FileLogError::corrupt("invalid channel key"))?;
                    imported.insert(channel, Epoch(epoch.value().into()));
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { file_epoch, imported: Arc::new(imported) })
    }

    pub(super) fn epoch_of(&self, channel: &Channel) -> Epoch {
        self.imported.get(channel).unwrap_or(&self.file_epoch).clone()
    }
}
