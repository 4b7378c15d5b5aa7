//! Captured output of a process, line by line.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::eventually::with_timeout;

/// Maximum number of captured bytes per stream; more output fails the test.
const MAX_CAPTURED_BYTES: usize = 64 * 1024 * 1024;

/// Captured output streams of a process.
pub struct ProcessOutput {
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
    readers: JoinSet<()>,
}

impl ProcessOutput {
    /// Reads both streams of a child that was started with pipes.
    pub(super) fn of(child: &mut Child) -> Self {
        let mut readers = JoinSet::new();
        let stdout = read(&mut readers, child.stdout.take().expect("standard output is a pipe"));
        let stderr = read(&mut readers, child.stderr.take().expect("standard error is a pipe"));
        Self { stdout, stderr, readers }
    }

    /// Returns the standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.borrow().clone()
    }

    /// Returns the standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Waits for a JSON line on standard error with this `message`; `None` when the stream ends without it.
    pub async fn log_line(&self, message: &str) -> Option<Value> {
        let find = |text: &str| {
            let lines = text.lines();
            lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["message"] == message)
        };
        let mut stderr = self.stderr.clone();
        let text = stderr.wait_for(|text| find(text).is_some()).await.ok()?;
        find(&text)
    }

    /// Waits until both streams have ended.
    pub(super) async fn finish(&mut self) {
        with_timeout("the output's end", async {
            while let Some(reader) = self.readers.join_next().await {
                reader.expect("the server's output is text of a sane size");
            }
        })
        .await;
    }
}

fn read(readers: &mut JoinSet<()>, stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (text, reader) = watch::channel(String::new());
    readers.spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Some(line) = lines.next_line().await.expect("the output is UTF-8") {
            text.send_modify(|text| {
                assert!(
                    text.len() + line.len() < MAX_CAPTURED_BYTES,
                    "the server wrote more than {MAX_CAPTURED_BYTES} bytes"
                );
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    reader
}
