//! File descriptors: the limit of the process, and a descriptor in reserve for the ops port.
//!
//! Every connection needs a descriptor. When none is left, no port accepts connections, the liveness probe fails, and
//! the process is killed with all its clients. So the traffic port leaves some to the rest of the process.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Maximum number of descriptors that the traffic port leaves for the ops port, storage, Redis, PostgreSQL and
/// functions.
const MAX_RESERVED_DESCRIPTORS: u64 = 1024;

/// Returns the soft limit of open files; `None` if there is none.
#[must_use]
pub fn soft_file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit of open files (`RLIMIT_NOFILE`) to the hard limit. The usual soft limit of 1,024 exists for
/// programs that call `select`, which this one does not.
///
/// # Errors
/// The error of the operating system; the limit is unchanged then.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Returns the number of connections that the traffic port may accept: `max_connections`, or fewer if the process may
/// not open as many files, with a warning.
#[must_use]
pub fn allowed_connections(max_connections: usize) -> usize {
    let Some(limit) = soft_file_limit() else { return max_connections };
    let allowed = connections_within(limit);
    if max_connections <= allowed {
        return max_connections;
    }
    tracing::warn!(
        max_connections,
        allowed_connections = allowed,
        file_limit = limit,
        "the file descriptor limit does not cover server.max_connections: raise the hard limit (ulimit -n, LimitNOFILE) \
         or lower server.max_connections"
    );
    allowed
}

/// Returns the number of connections with this limit of open files, of which a quarter stays in reserve.
fn connections_within(limit: u64) -> usize {
    let reserved = (limit / 4).min(MAX_RESERVED_DESCRIPTORS);
    usize::try_from(limit - reserved).unwrap_or(usize::MAX).max(1)
}

/// Returns whether `accept` failed because the process or the system has no descriptor left.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|exhausted| errno == Some(exhausted.raw_os_error()))
}

/// A descriptor that is closed to accept one connection when no other is left, and opened again after it.
#[derive(Debug, Clone)]
pub(super) struct SpareDescriptor(Arc<Mutex<Option<File>>>);

impl SpareDescriptor {
    /// Opens a descriptor.
    pub(super) fn open_spare() -> Self {
        let spare = Self(Arc::default());
        spare.refill_file();
        spare
    }

    /// Closes the descriptor. Returns `false` if it is in use.
    pub(super) fn release_file(&self) -> bool {
        self.0.lock().take().is_some()
    }

    /// Returns whether the descriptor is in reserve.
    pub(super) fn is_held(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Opens the descriptor, unless it is in reserve or none is left.
    pub(super) fn refill_file(&self) {
        let mut file = self.0.lock();
        if file.is_none() {
            *file = File::open("/dev/null").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_is_in_reserve_at_most_1024() {
        assert_eq!([256, 1_024, 4_096, 1_048_576].map(connections_within), [192, 768, 3_072, 1_047_552]);
        assert_eq!(connections_within(1), 1);
    }
}
