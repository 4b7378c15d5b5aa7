//! Data directory with mode 0700, locked by one process at a time.
//!
//! The kernel releases the lock (`flock`) when a process ends, so a killed process leaves no stale lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Failure to use the data directory. The text contains the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The directory cannot be created, is not a directory, or is not writable.
    #[error(
        "the data directory {path} cannot be used: {source}; grant this user write permission, or set another one with \
         --data-dir or TWINWAY_DATA_DIR"
    )]
    Unusable { path: PathBuf, source: io::Error },
    /// Another process has locked the directory.
    #[error(
        "{path} is locked by another process: probably another twinway uses this data directory; stop it, or set \
         another directory with --data-dir or TWINWAY_DATA_DIR"
    )]
    Locked { path: PathBuf },
}

/// Lock of the data directory, released on drop.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "the open file holds the lock")] File);

/// Creates the directory and its parents unless it exists. A new directory has mode 0700, because it contains messages
/// and the secret.
///
/// # Errors
/// [`DataDirError::Unusable`].
pub fn create_data_dir(path: &Path) -> Result<(), DataDirError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|source| DataDirError::Unusable { path: path.to_owned(), source })
}

impl DataDirLock {
    /// Creates the directory unless it exists, and locks it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn acquire(directory: &Path) -> Result<Self, DataDirError> {
        create_data_dir(directory)?;
        let path = directory.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|source| DataDirError::Unusable { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(DataDirError::Unusable { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_created_private_and_locked_once() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("deep/data");
        let lock = DataDirLock::acquire(&directory).unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        let error = DataDirLock::acquire(&directory).unwrap_err();
        assert!(error.to_string().contains("another twinway uses"), "{error}");
        drop(lock);
        assert!(DataDirLock::acquire(&directory).is_ok());
    }

    #[test]
    fn a_file_at_the_path_is_reported() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = DataDirLock::acquire(&path).unwrap_err().to_string();
        assert!(error.contains("/file") && error.contains("--data-dir"), "{error}");
    }
}
