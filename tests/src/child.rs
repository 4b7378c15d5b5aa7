//! A child process that does not outlive its handle.
//!
//! When the handle has been dropped the process has exited, so its port and its files are free. Tokio's
//! `kill_on_drop` does not wait for the exit.

use std::io;
use std::process::{Child, Command, Stdio};

/// Child process; killed on drop.
#[derive(Debug)]
pub(crate) struct KillOnDrop(pub(crate) Child);

impl KillOnDrop {
    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal by its name without `SIG`. Has no effect on a process that has exited.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.id().to_string()).stderr(Stdio::null()).status().map(drop)
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
