//! A child process that does not outlive its handle.
//!
//! Invariant: when the handle has been dropped the process has ended, so that its port and its files are free.
//! `kill_on_drop` of tokio, which kills as well, does not wait for that.

use std::io;
use std::process::{Child, Command, Stdio};

/// A process; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct KillOnDrop(pub(crate) Child);

impl KillOnDrop {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal, by its name without `SIG`. One that has ended does not mind.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.id().to_string()).stderr(Stdio::null()).status().map(drop)
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
