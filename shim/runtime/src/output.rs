//! What a function's process writes, as log lines of the server.
//!
//! Invariant: a line is bounded; what is longer is cut and marked. A process that writes faster than lines are logged
//! waits, as it would on any pipe. The text is the function's own: what may be in it is decided by whoever wrote it.

use std::sync::Arc;

use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};

/// Longest line in bytes. CloudWatch takes 256 KiB; a log of a server needs less.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// A level that a JSON line names, in either of the usual spellings (Lambda's JSON format, `tracing`, bunyan-like texts).
#[derive(Deserialize)]
struct StructuredLine<'l> {
    #[serde(borrow, alias = "severity", alias = "lvl")]
    level: Option<std::borrow::Cow<'l, str>>,
}

/// Logs every line of `stream` until it ends. `request_id` says which request a line belongs to, if that is known.
pub(crate) async fn forward_lines(
    function: &str,
    stream: impl AsyncRead + Unpin,
    request_id: impl Fn() -> Option<Arc<str>>,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // A pipe that breaks has nothing more to say.
    while let Ok(Some(cut)) = read_line(&mut reader, &mut line).await {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            log_line(function, request_id().as_deref(), text.trim_end(), cut);
        }
        line.clear();
    }
}

/// Reads one line and says whether it was cut; `None` at the end.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    let (mut cut, mut read) = (false, 0);
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok((read > 0).then_some(cut));
        }
        let (taken, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        let room = MAX_LINE_BYTES - line.len();
        cut |= taken > room + usize::from(ended);
        line.extend_from_slice(&buffer[..taken.min(room)]);
        reader.consume(taken);
        read += taken;
        if ended {
            return Ok(Some(cut));
        }
    }
}

fn log_line(function: &str, request_id: Option<&str>, line: &str, cut: bool) {
    match line_level(line) {
        tracing::Level::ERROR => {
            tracing::error!(target: "function", { function.name = function, request.id = request_id, cut }, "{line}");
        }
        tracing::Level::WARN => {
            tracing::warn!(target: "function", { function.name = function, request.id = request_id, cut }, "{line}");
        }
        tracing::Level::INFO => {
            tracing::info!(target: "function", { function.name = function, request.id = request_id, cut }, "{line}");
        }
        _ => tracing::debug!(target: "function", { function.name = function, request.id = request_id, cut }, "{line}"),
    }
}

/// Lines without a level are information, as CloudWatch takes them.
fn line_level(line: &str) -> tracing::Level {
    let structured = || serde_json::from_str::<StructuredLine<'_>>(line).ok().and_then(|line| line.level);
    let named = if line.starts_with('{') { structured() } else { None };
    match named.map(|level| level.to_ascii_lowercase()).as_deref() {
        Some("fatal" | "critical" | "error") => tracing::Level::ERROR,
        Some("warn" | "warning") => tracing::Level::WARN,
        Some("debug" | "trace") => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_from_json_lines() {
        assert_eq!(line_level(r#"{"level":"ERROR","message":"x"}"#), tracing::Level::ERROR);
        assert_eq!(line_level(r#"{"timestamp":"t","level":"warn"}"#), tracing::Level::WARN);
        assert_eq!(line_level(r#"{"level":"TRACE"}"#), tracing::Level::DEBUG);
        assert_eq!(line_level(r#"{"level":30}"#), tracing::Level::INFO);
        assert_eq!(line_level("level: error"), tracing::Level::INFO);
    }

    #[tokio::test]
    async fn lines_are_split_and_long_ones_cut() {
        let text = [b"one\n\n".to_vec(), vec![b'x'; MAX_LINE_BYTES + 1], b"\nlast".to_vec()].concat();
        let mut reader = BufReader::new(&*text);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while let Some(cut) = read_line(&mut reader, &mut line).await.unwrap() {
            lines.push((line.len(), cut));
            line.clear();
        }
        assert_eq!(lines, [(4, false), (1, false), (MAX_LINE_BYTES, true), (4, false)]);
    }
}
