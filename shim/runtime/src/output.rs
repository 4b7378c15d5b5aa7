//! Forwarding of a process's standard output and error to the server's log.
//!
//! Lines are limited to [`MAX_LINE_BYTES`]; longer ones are truncated and marked. A process that writes faster than
//! lines are logged blocks on its pipe. The text is logged unchanged, so functions must not print secrets.

use std::sync::Arc;

use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};

/// Maximum bytes of a line. CloudWatch accepts 256 KiB.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Log level of a JSON line, with the usual field names (Lambda's JSON format, `tracing`, bunyan-like loggers).
#[derive(Deserialize)]
struct StructuredLine<'l> {
    #[serde(borrow, alias = "severity", alias = "lvl")]
    level: Option<std::borrow::Cow<'l, str>>,
}

/// Logs every line of `stream` until it ends. `request_id` returns the request of the current line, if it is known.
pub(crate) async fn forward_lines(
    function: &str,
    stream: impl AsyncRead + Unpin,
    request_id: impl Fn() -> Option<Arc<str>>,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // An error means that the pipe is closed.
    while let Ok(Some(truncated)) = read_line(&mut reader, &mut line).await {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            // Runtimes separate the lines of one message by carriage returns.
            let message = text.trim_end().replace('\r', "\n");
            log_line(function, request_id().as_deref(), &message, truncated);
        }
        line.clear();
    }
}

/// Reads one line into `line` and returns whether it was truncated; `None` at the end of the stream.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    let (mut truncated, mut read) = (false, 0);
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok((read > 0).then_some(truncated));
        }
        let (length, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        let capacity = MAX_LINE_BYTES - line.len();
        truncated |= length > capacity + usize::from(ended);
        line.extend_from_slice(&buffer[..length.min(capacity)]);
        reader.consume(length);
        read += length;
        if ended {
            return Ok(Some(truncated));
        }
    }
}

fn log_line(function: &str, request_id: Option<&str>, line: &str, truncated: bool) {
    match line_level(line) {
        tracing::Level::ERROR => {
            tracing::error!(target: "function", { function.name = function, request.id = request_id, truncated }, "{line}");
        }
        tracing::Level::WARN => {
            tracing::warn!(target: "function", { function.name = function, request.id = request_id, truncated }, "{line}");
        }
        tracing::Level::INFO => {
            tracing::info!(target: "function", { function.name = function, request.id = request_id, truncated }, "{line}");
        }
        _ => {
            tracing::debug!(target: "function", { function.name = function, request.id = request_id, truncated }, "{line}")
        }
    }
}

/// Returns the level of a line; INFO for lines without one, as in CloudWatch.
fn line_level(line: &str) -> tracing::Level {
    let structured = || serde_json::from_str::<StructuredLine<'_>>(line).ok().and_then(|line| line.level);
    let named = if line.starts_with('{') { structured() } else { text_level(line).map(Into::into) };
    match named.map(|level| level.to_ascii_lowercase()).as_deref() {
        Some("fatal" | "critical" | "error") => tracing::Level::ERROR,
        Some("warn" | "warning") => tracing::Level::WARN,
        Some("debug" | "trace") => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    }
}

/// Returns the level of a line in the text format of Lambda's runtimes: `[LEVEL]` first, or between the second and third tab.
fn text_level(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    match fields.as_slice() {
        [time, _request, level, _message] if time.ends_with('Z') => Some(level),
        _ => line.strip_prefix('[')?.split_once(']').map(|(level, _)| level),
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

    #[test]
    fn levels_come_from_lines_of_lambda_runtimes() {
        assert_eq!(line_level("2026-11-30T10:00:00.000Z\tid\tERROR\tInvoke Error"), tracing::Level::ERROR);
        assert_eq!(line_level("2026-11-30T10:00:00.000Z\tid\tWARN\ttext"), tracing::Level::WARN);
        assert_eq!(line_level("[ERROR] KeyError: 'x'"), tracing::Level::ERROR);
        assert_eq!(line_level("[WARNING]\t2026-11-30T10:00:00.000Z\tid\ttext"), tracing::Level::WARN);
        assert_eq!(line_level("[1, 2]"), tracing::Level::INFO);
    }

    #[tokio::test]
    async fn lines_are_split_and_long_ones_truncated() {
        let text = [b"one\n\n".to_vec(), vec![b'x'; MAX_LINE_BYTES + 1], b"\nlast".to_vec()].concat();
        let mut reader = BufReader::new(&*text);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while let Some(truncated) = read_line(&mut reader, &mut line).await.unwrap() {
            lines.push((line.len(), truncated));
            line.clear();
        }
        assert_eq!(lines, [(4, false), (1, false), (MAX_LINE_BYTES, true), (4, false)]);
    }
}
