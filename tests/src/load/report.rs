//! Reports of a run: latencies, resource usage of server and generator in the measured window, and output formats.
//!
//! Every time in a report is in microseconds unless its name says otherwise.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::process;

/// Upper bound of a latency in microseconds (one minute); longer ones are counted as this.
const LONGEST_MICROS: u64 = 60_000_000;

/// Latency histogram of one window, with bounded memory.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Returns an empty histogram.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds are constants in range"))
    }

    /// Records a latency.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_MICROS));
    }

    /// Resets the histogram for a new window.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Returns the reported quantiles.
    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Quantiles of a window's latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct LatencySummary {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Maximum.
    pub max: u64,
}

/// Measured window, with the CPU time of server and generator at its start.
pub struct Window {
    started: Instant,
    server: Option<u32>,
    server_cpu: Option<Duration>,
    own_cpu: Duration,
}

/// Resource usage of a window.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Length of the window.
    pub elapsed: Duration,
    /// CPU time of the server process and its descendants, if known.
    pub server_cpu: Option<Duration>,
    /// CPU time of this generator.
    pub own_cpu: Duration,
}

impl Window {
    /// Starts a window; `server` is the process under test, if known.
    ///
    /// # Errors
    /// The process does not exist.
    pub fn open(server: Option<u32>) -> anyhow::Result<Self> {
        let server_cpu = server.map(process::tree_cpu_time).transpose()?;
        let own_cpu = process::cpu_time(std::process::id())?;
        Ok(Self { started: Instant::now(), server, server_cpu, own_cpu })
    }

    /// Ends the window.
    ///
    /// # Errors
    /// The server process no longer exists.
    pub fn close(&self) -> anyhow::Result<Usage> {
        let elapsed = self.started.elapsed();
        let server_now = self.server.map(process::tree_cpu_time).transpose()?;
        let own_cpu = process::cpu_time(std::process::id())?.saturating_sub(self.own_cpu);
        let server_cpu = server_now.zip(self.server_cpu).map(|(now, then)| now.saturating_sub(then));
        Ok(Usage { elapsed, server_cpu, own_cpu })
    }
}

impl Usage {
    /// Returns `count` per second.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the server's CPU time per `count`, in microseconds.
    pub fn server_micros_per(&self, count: u64) -> Option<f64> {
        self.server_cpu.filter(|_| count > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / count as f64)
    }

    /// Returns `count` per second of the server's CPU time.
    pub fn per_server_second(&self, count: u64) -> Option<f64> {
        self.server_cpu.filter(|cpu| !cpu.is_zero()).map(|cpu| count as f64 / cpu.as_secs_f64())
    }

    /// Returns the generator's CPU time per `count`, in microseconds.
    pub fn own_micros_per(&self, count: u64) -> f64 {
        self.own_cpu.as_secs_f64() * 1e6 / count.max(1) as f64
    }
}

/// Output format of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object on one line.
    Json,
    /// One line per value.
    Table,
}

/// Renders a report.
///
/// # Errors
/// The report cannot be serialized as JSON.
pub fn render(report: &impl Serialize, format: Format) -> anyhow::Result<String> {
    let value = serde_json::to_value(report)?;
    match format {
        Format::Json => Ok(value.to_string()),
        Format::Table => {
            let mut lines = Vec::new();
            rows(&value, "", &mut lines);
            Ok(lines.join("\n"))
        }
    }
}

fn rows(value: &serde_json::Value, name: &str, lines: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (field, value) in fields {
                let path = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                rows(value, &path, lines);
            }
        }
        serde_json::Value::Null => lines.push(format!("{name:<34}{:>16}", "-")),
        serde_json::Value::Number(number) if number.is_f64() => {
            lines.push(format!("{name:<34}{:>16.2}", number.as_f64().unwrap_or_default()));
        }
        other => lines.push(format!("{name:<34}{:>16}", other.to_string().trim_matches('"'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_microseconds_and_saturate() {
        let mut latencies = Latencies::new();
        (1..=100).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        let summary = latencies.summary();
        assert!((49_900..=50_100).contains(&summary.p50), "{summary:?}");
        latencies.record(Duration::from_secs(600));
        assert!(latencies.summary().max >= 60_000_000);
        latencies.reset();
        assert_eq!(latencies.summary().max, 0);
    }

    #[test]
    fn usage_is_divided_by_the_count() {
        let usage = Usage {
            elapsed: Duration::from_secs(2),
            server_cpu: Some(Duration::from_secs(1)),
            own_cpu: Duration::from_millis(500),
        };
        assert_eq!(usage.per_second(100), 50.0);
        assert_eq!(usage.server_micros_per(1_000), Some(1_000.0));
        assert_eq!(usage.server_micros_per(0), None);
        assert_eq!(usage.per_server_second(7), Some(7.0));
        assert_eq!(usage.own_micros_per(1_000), 500.0);
    }

    #[test]
    fn a_table_has_one_line_per_value() {
        let report = serde_json::json!({"a": 1, "b": {"c": 2.5, "d": null}});
        let table = render(&report, Format::Table).unwrap();
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [["a", "1"], ["b.c", "2.50"], ["b.d", "-"]]);
    }
}
