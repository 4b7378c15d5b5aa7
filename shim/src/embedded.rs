//! Storage of embedded mode: a message log in a local file, the revoked tokens, and a signing secret generated at the
//! first start.
//!
//! All are stored in one data directory, which one process at a time locks. Connections are kept in memory only.

pub mod data_dir;
pub mod log;
pub mod revocations;
pub mod secret;

pub use self::data_dir::{DataDirError, DataDirLock};
pub use self::log::{FileArchive, FileLog, LogOpenError};
pub use self::revocations::{FileRevocations, RevocationFileError};
pub use self::secret::{SigningSecret, SigningSecretError, signing_secret};
