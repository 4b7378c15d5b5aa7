//! Error of managed runtimes.

use std::io;
use std::path::PathBuf;

use crate::program::ProgramError;

/// Error of finding the program of a function with a managed runtime.
#[derive(Debug, thiserror::Error)]
pub enum ManagedRuntimeError {
    /// The runtime id is not one of Lambda.
    #[error(
        "unknown runtime {0:?}; use one of Lambda, such as nodejs22.x, python3.13, java21, ruby3.4, dotnet8 or provided.al2023"
    )]
    UnknownRuntime(String),
    /// Lambda has retired the runtime, and its functions cannot be run.
    #[error("runtime {runtime:?} is retired; {remedy}")]
    RetiredRuntime {
        runtime: String,
        /// How to change the function.
        remedy: &'static str,
    },
    /// No interpreter that can be started is in `PATH`.
    #[error("runtime {runtime} needs {command}, which is not in PATH or does not start; {remedy}")]
    InterpreterNotFound {
        runtime: String,
        /// Names that were looked up.
        command: String,
        /// What to install.
        remedy: String,
    },
    /// The published runtime interface client is not installed.
    #[error("runtime {runtime} needs {client}; {remedy}")]
    ClientNotFound {
        runtime: String,
        client: &'static str,
        /// How to install it.
        remedy: String,
    },
    /// The only source of the handler is TypeScript.
    #[error("{path} is TypeScript, but Lambda runs JavaScript; build the function first (for example with 'sam build' or esbuild), and name the directory of the result", path = .0.display())]
    TypeScript(PathBuf),
    /// Source text in the template for a runtime that needs a file.
    #[error("runtime {0} does not support inline code; put the code into a file")]
    InlineCode(String),
    /// The directory of the code is a file.
    #[error("{path} is not a directory; an archive must have the extension .zip or .jar", path = .0.display())]
    NotADirectory(PathBuf),
    /// A file or directory does not exist or cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The archive is not a zip file, or damaged.
    #[error("{path} is not a valid zip archive: {reason}", path = .path.display())]
    InvalidArchive { path: PathBuf, reason: String },
    /// An entry of the archive would be written outside of its directory.
    #[error("{path} has the entry {entry:?}, which leads out of the archive; build the archive again", path = .path.display())]
    UnsafeEntry { path: PathBuf, entry: String },
    /// The content is larger than Lambda permits.
    #[error("{path} has more than {limit} bytes or more than {entries} files when unpacked, the limit of Lambda for code and layers; remove unneeded files", path = .path.display())]
    TooLarge {
        path: PathBuf,
        /// Bytes.
        limit: u64,
        entries: usize,
    },
    /// More layers than Lambda permits.
    #[error("the function has {0} layers, but Lambda permits 5")]
    TooManyLayers(usize),
    /// Another user owns or may write the cache directory.
    #[error("the cache directory {path} is not private: {reason}; remove it, or configure another one", path = .path.display())]
    CacheNotPrivate { path: PathBuf, reason: &'static str },
    /// Functions run as another user, who cannot enter a directory above the cache.
    #[error("the user of the functions cannot enter {folder}, which contains the cache directory; configure a cache directory elsewhere", folder = .0.display())]
    CacheUnreachable(PathBuf),
    /// The cache directory cannot be written.
    #[error("the cache directory {path} cannot be written; make it writable, or configure another one", path = .path.display())]
    CacheNotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}
