//! Which epoch each channel's log has: the file's own, or the one that it was imported with.
//!
//! Invariant: it never changes while the file is open; only an import into a file that nobody serves adds to it.

use std::collections::HashMap;
use std::sync::Arc;

use handlers::channel::{Channel, Epoch};
use redb::{ReadTransaction, ReadableTable, TableError};

use super::error::FileLogError;
use super::tables::EPOCHS_TABLE;

/// The epochs of one file; clones share them.
#[derive(Debug, Clone)]
pub(super) struct ChannelEpochs {
    file_epoch: Epoch,
    imported: Arc<HashMap<Channel, Epoch>>,
}

impl ChannelEpochs {
    /// What the file says. A file into which nothing was imported has no table for it.
    pub(super) fn load_epochs(own: Epoch, transaction: &ReadTransaction) -> Result<Self, FileLogError> {
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
        Ok(Self { file_epoch: own, imported: Arc::new(imported) })
    }

    /// A channel's.
    pub(super) fn epoch_of(&self, channel: &Channel) -> Epoch {
        self.imported.get(channel).unwrap_or(&self.file_epoch).clone()
    }
}
