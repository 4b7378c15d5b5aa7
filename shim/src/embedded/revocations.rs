//! Revocations of embedded mode: in memory, and in one file of the data directory.
//!
//! The file is replaced as a whole and synchronized before a write returns, so a killed process leaves the old or the
//! new state. It is small: revocations are rare and expire.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use handlers::id::TenantId;
use handlers::memory::MemoryRevocations;
use handlers::ports::{Clock, Revocation, RevocationStore, RevokedSubject, StoreError};
use tokio::sync::Mutex;

/// Name of the adapter in errors.
const ADAPTER: &str = "file";

/// Failure to read the file. The text contains the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RevocationFileError {
    /// The file cannot be read.
    #[error("the file of revoked tokens {path} cannot be read: {source}; correct its permissions")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not one that this program wrote.
    #[error(
        "the file of revoked tokens {path} is damaged: {source}; restore it from a backup, or delete it, which accepts \
         the revoked tokens again"
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// Revocations in one file of the data directory, which this process has locked.
pub struct FileRevocations {
    memory: MemoryRevocations,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Held while a change is applied and written.
    writing: Mutex<()>,
}

impl FileRevocations {
    /// Reads the file in `directory`; without one there are no revocations.
    ///
    /// # Errors
    /// [`RevocationFileError`].
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, RevocationFileError> {
        let path = directory.join("revocations.json");
        let revocations = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| RevocationFileError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RevocationFileError::Unreadable { path, source }),
        };
        Ok(Self { memory: MemoryRevocations::with_revocations(revocations), path, clock, writing: Mutex::new(()) })
    }

    /// Writes the revocations that have not expired.
    async fn write_file(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut revocations = self.memory.revocations();
        revocations.retain(|revocation| revocation.expires_at > now);
        let text = serde_json::to_vec(&revocations).map_err(|error| backend_error(error.into()))?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace_file(&path, &text)).await;
        written.map_err(|error| backend_error(error.into()))?.map_err(|error| backend_error(error.into()))
    }
}

/// Replaces a file and synchronizes it and its directory.
fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn backend_error(source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Backend { adapter: ADAPTER, source }
}

#[async_trait]
impl RevocationStore for FileRevocations {
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        self.memory.put_revocation(revocation).await?;
        self.write_file().await
    }

    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError> {
        self.memory.find_revocation(tenant, subject).await
    }

    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError> {
        let _writing = self.writing.lock().await;
        let deleted = self.memory.delete_revocation(tenant, subject).await?;
        if deleted {
            self.write_file().await?;
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use handlers::conformance::revocations::run_suite;
    use handlers::id::UserId;
    use handlers::memory::ManualClock;
    use handlers::ports::Timestamp;
    use parking_lot::Mutex as SyncMutex;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn open(directory: &Path) -> Result<FileRevocations, RevocationFileError> {
        FileRevocations::open(directory, Arc::new(ManualClock::new(NOW)))
    }

    #[tokio::test]
    async fn the_file_fulfils_the_contract() {
        let directories = SyncMutex::new(Vec::new());
        run_suite(async || {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path()).unwrap();
            directories.lock().push(directory);
            Arc::new(store) as _
        })
        .await;
    }

    #[tokio::test]
    async fn revocations_survive_a_restart_until_they_expire() {
        let directory = tempfile::tempdir().unwrap();
        let revocation = |user: &str, expires_at| Revocation {
            tenant: TenantId::default_tenant(),
            subject: RevokedSubject::User(UserId::parse(user).unwrap()),
            issued_before: 7,
            expires_at,
        };
        let (current, expired) = (revocation("alice", Timestamp(NOW.0 + 1)), revocation("bob", NOW));
        let store = open(directory.path()).unwrap();
        for revocation in [&expired, &current] {
            store.put_revocation(revocation).await.unwrap();
        }
        drop(store);
        let store = open(directory.path()).unwrap();
        assert_eq!(store.find_revocation(&current.tenant, &current.subject).await.unwrap(), Some(current));
        assert_eq!(store.find_revocation(&expired.tenant, &expired.subject).await.unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_reported_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("revocations.json"), "[{").unwrap();
        let error = open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("/revocations.json is damaged"), "{error}");
    }
}
