//! Journal of this pod's connections in a local file: the second copy of the registry.
//!
//! ```text
//! register ── opened ─┐                       ┌─ Redis has the data: the reaper has the records, nothing to do
//! delete ──── ended ──┴─▶ file ── next start ─┴─ Redis lost it: register them for the dead pod, whose lease has expired
//! ```
//! Redis is the first copy. After a loss of its data the pods register their connections again; only the connections of
//! a pod that dies before that are in no other place. The file is not synchronized to the disk: it has to survive the
//! process, not the machine, on which the clients' sockets end too. Its path has to survive a restart of the container
//! (`cluster.journal_dir`). Rationale: `docs/adr/0034-restored-connections.md`.

mod recovery;
mod writer;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};

use gateway::id::GatewayId;

pub(super) use self::recovery::{LostPodJournal, find_lost_pods, restore_lost_pods};
use self::writer::{JournalWriter, RewriteRequest};
use super::lease_store::LeaseId;

/// Maximum number of events that wait for the writer. When it is full, the writer writes the whole file again.
const MAX_QUEUED_EVENTS: usize = 8_192;
/// Extension of the files.
const EXTENSION: &str = "journal";

/// The connections to write when the file is written again.
pub(super) trait JournalSource: Send + Sync {
    /// Calls `each` with the id and the record of every registered connection.
    fn for_each_record(&self, each: &mut dyn FnMut(GatewayId, &[u8]));
}

/// Events of connections that the journal records.
pub(super) enum JournalEvent {
    /// A connection is being registered; with its record.
    Opened(GatewayId, Vec<u8>),
    /// The `$disconnect` of a connection has run, or is not required.
    Ended(GatewayId),
    /// Redis with this data epoch has all connections, under this lease.
    Registered(JournalHeader),
    /// All connections were released.
    Released,
}

/// Lease of the connections, and the data of Redis that have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JournalHeader {
    pub(super) lease_id: LeaseId,
    pub(super) data_epoch: String,
}

/// Handle of the writer thread, which ends with the last handle.
pub(super) struct ConnectionJournal {
    events: SyncSender<JournalEvent>,
    rewrite: Arc<RewriteRequest>,
    path: PathBuf,
}

impl ConnectionJournal {
    /// Creates the file of a pod that has just claimed `header.lease_id`, and starts the writer.
    ///
    /// # Errors
    /// The file cannot be created or locked, or the thread cannot be started.
    pub(super) fn start(
        directory: &Path,
        namespace: &str,
        header: JournalHeader,
        source: Weak<dyn JournalSource>,
    ) -> io::Result<Self> {
        create_directory(directory)?;
        let path = directory.join(format!("{}.{EXTENSION}", header.lease_id));
        let rewrite = Arc::new(RewriteRequest::default());
        let writer = JournalWriter::create(path.clone(), namespace, header, source, rewrite.clone())?;
        let (sender, events) = sync_channel(MAX_QUEUED_EVENTS);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&events))?;
        Ok(Self { events: sender, rewrite, path })
    }

    /// Queues an event. Never blocks.
    pub(super) fn record(&self, event: JournalEvent) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            self.rewrite.request();
        }
    }

    /// Removes the file of a pod that leaves the cluster without connections.
    pub(super) fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(error = %errors::chain(&error), "removing the connection journal failed");
        }
    }
}

/// Creates the directory, readable by this user only: the records contain user ids and addresses.
fn create_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Creates a locked file. The lock shows to other processes that the pod is alive.
fn create_locked_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.try_lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
