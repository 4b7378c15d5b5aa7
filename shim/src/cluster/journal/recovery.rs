//! Recovery from the journals of dead pods, at the start of a pod.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gateway::id::{GatewayId, parse_gateway_id};

use super::super::lease_store::{LeaseId, LeaseStore};
use super::{EXTENSION, JournalHeader};
use crate::redis::RedisClientError;

/// Maximum number of records per command.
const MAX_RECORDS_PER_COMMAND: usize = 256;

/// Connections of a dead pod, by its journal.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cluster) struct LostPod {
    /// Lease of the pod, and the data epoch of Redis that had all its connections.
    pub(in crate::cluster) header: JournalHeader,
    /// Ids and records of the connections that had not ended.
    pub(in crate::cluster) connections: Vec<(GatewayId, Vec<u8>)>,
}

/// A dead pod's journal. The file is locked until this value is dropped.
pub(in crate::cluster) struct LostPodJournal {
    pub(in crate::cluster) lost_pod: LostPod,
    path: PathBuf,
    _locked: File,
}

impl LostPodJournal {
    /// Deletes the file.
    pub(in crate::cluster) fn delete(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(error = %errors::chain(&error), "deleting the journal of a dead pod failed");
        }
    }
}

/// Returns the journals of dead pods of this namespace. A file that another process has locked belongs to a live pod.
///
/// # Errors
/// The directory or a file cannot be read.
pub(in crate::cluster) fn find_lost_pods(directory: &Path, namespace: &str) -> io::Result<Vec<LostPodJournal>> {
    super::create_directory(directory)?;
    let mut journals = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(locked) = lock_dead_file(&path)?
            && let Some(lost_pod) = read_journal(&locked, namespace)?
        {
            journals.push(LostPodJournal { lost_pod, path, _locked: locked });
        }
    }
    Ok(journals)
}

/// Registers the connections of dead pods again that Redis has lost, and deletes their journals.
///
/// # Errors
/// Redis failed. The journals stay, and the next start repeats the recovery.
pub(in crate::cluster) async fn restore_lost_pods(
    lease_store: &LeaseStore,
    journals: Vec<LostPodJournal>,
) -> Result<(), RedisClientError> {
    for journal in journals {
        let LostPod { header, connections } = &journal.lost_pod;
        let mut restored = 0;
        for records in connections.chunks(MAX_RECORDS_PER_COMMAND) {
            if !lease_store.restore_lost_pod(&header.lease_id, &header.data_epoch, records).await? {
                break;
            }
            restored += records.len();
        }
        if restored > 0 {
            tracing::warn!(
                pod = %header.lease_id,
                connections = restored,
                "registered connections of a dead pod again that redis had lost"
            );
        }
        journal.delete();
    }
    Ok(())
}

/// Returns the file, unless its pod is alive.
fn lock_dead_file(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    // A live pod may have replaced the file in between.
    let is_current =
        fs::metadata(path).is_ok_and(|current| Some(current.ino()) == file.metadata().map(|own| own.ino()).ok());
    Ok(is_current.then_some(file))
}

/// Reads a journal up to its last complete line. Returns `None` for one of another namespace, and for another file.
fn read_journal(file: &File, namespace: &str) -> io::Result<Option<LostPod>> {
    let mut header = None;
    let mut connections = HashMap::new();
    let mut line = Vec::new();
    let mut reader = BufReader::new(file);
    while reader.read_until(b'\n', &mut line)? > 0 && line.pop() == Some(b'\n') {
        match line.split_first() {
            Some((b'=', rest)) => match parse_header(rest) {
                Some((_, other)) if other != namespace => return Ok(None),
                parsed => header = parsed.map(|(header, _)| header),
            },
            Some((b'+', rest)) => connections.extend(parse_connection(rest)),
            Some((b'-', rest)) => {
                if let Some(id) = parse_id(rest) {
                    connections.remove(&id);
                }
            }
            _ => {}
        }
        line.clear();
    }
    Ok(header.map(|header| LostPod { header, connections: connections.into_iter().collect() }))
}

fn parse_header(line: &[u8]) -> Option<(JournalHeader, &str)> {
    let mut words = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    let (lease_id, data_epoch) = (LeaseId::parse(words.next()?)?, words.next()?.to_owned());
    Some((JournalHeader { lease_id, data_epoch }, words.next()?))
}

fn parse_connection(line: &[u8]) -> Option<(GatewayId, Vec<u8>)> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    Some((parse_id(&line[..at])?, line[at + 1..].to_vec()))
}

fn parse_id(bytes: &[u8]) -> Option<GatewayId> {
    parse_gateway_id(std::str::from_utf8(bytes).ok()?).ok()
}
