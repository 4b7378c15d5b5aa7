//! The data directory: made on demand, readable by its owner alone, and held by one process at a time.
//!
//! The lock is the kernel's (`flock`), so a killed process leaves none behind. What is in the directory is others' affair.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It is not there and cannot be made, or is no directory, or is not ours to write.
    #[error(
        "the data directory {path} cannot be used: {source}; grant this user write permission, or set another one with \
         --data-dir or TWINWAY_DATA_DIR"
    )]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "{path} is locked by another process: probably another twinway uses this data directory; stop it, or set \
         another directory with --data-dir or TWINWAY_DATA_DIR"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

/// The right to write the data directory, given up when dropped.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "holding the locked file is the point")] File);

/// Makes the directory, with its parents, unless it is there. A new one has mode 0700, because messages and the secret
/// are in it.
///
/// # Errors
/// [`DataDirError::Unusable`].
pub fn create_data_dir(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Unusable { path: path.to_owned(), source })
}

impl DataDirLock {
    /// Makes the directory unless it is there, and takes its lock.
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
    fn a_directory_is_made_private_and_locked_once() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("deep/data");
        let lock = DataDirLock::acquire(&directory).unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = DataDirLock::acquire(&directory).unwrap_err();
        assert!(refused.to_string().contains("another twinway uses"), "{refused}");
        drop(lock);
        assert!(DataDirLock::acquire(&directory).is_ok());
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("taken");
        std::fs::write(&path, "").unwrap();
        let refused = DataDirLock::acquire(&path).unwrap_err().to_string();
        assert!(refused.contains("taken") && refused.contains("--data-dir"), "{refused}");
    }
}
