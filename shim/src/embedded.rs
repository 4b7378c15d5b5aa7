//! What makes one process enough: a message log in a local file, and a secret made at first start.
//!
//! Everything lives in one data directory, which one process at a time owns. Connections need nothing here: in embedded
//! mode they live in memory.

pub mod data_dir;
pub mod log;
pub mod secret;

pub use self::data_dir::{DataDirError, DataDirLock};
pub use self::log::{FileArchive, FileLog, LogOpenError};
pub use self::secret::{SigningSecret, SigningSecretError, signing_secret};
