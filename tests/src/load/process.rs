//! What a process used, from `/proc`: CPU time of all its threads, and resident memory.
//!
//! Linux only. CPU time comes in clock ticks of 10 ms, so a measured window should last seconds.

use std::time::Duration;

use anyhow::Context;

/// Linux reports CPU time to user space in hundredths of a second (`USER_HZ`, time(7)) whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of `pid`, living and ended (proc_pid_stat(5), fields 14 and 15).
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    ticks(&stat).map(|ticks| TICK * ticks).with_context(|| format!("/proc/{pid}/stat is not as expected"))
}

/// Resident memory of `pid` in bytes (proc_pid_status(5), `VmRSS`).
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    resident(&status).with_context(|| format!("/proc/{pid}/status names no VmRSS"))
}

/// Sums utime and stime. The command name may hold spaces and parentheses: fields are counted from its last `)`.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    Some(times.next()?.parse::<u32>().ok()? + times.next()?.parse::<u32>().ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_command_name() {
        assert_eq!(ticks("7 (a b) c) S 1 7 7 0 -1 4194304 90 0 0 0 150 25 3 4 20 0 9 0 100 1 2"), Some(175));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn this_process_has_both() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
    }
}
