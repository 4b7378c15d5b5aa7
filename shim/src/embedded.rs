//! Storage of embedded mode: a message log in a local file, and a signing secret generated at the first start.
//!
//! Both are stored in one data directory, which one process at a time locks. Connections are kept in memory only.

pub mod data_dir;
pub mod log;
pub mod secret;

pub use self::data_dir::{DataDirError, DataDirLock};
pub use self::log::{FileArchive, FileLog, LogOpenError};
pub use self::secret::{SigningSecret, SigningSecretError, signing_secret};
