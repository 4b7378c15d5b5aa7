//! Resource usage from `/proc`: CPU time of a process, or of it and all its descendants, and resident memory.
//!
//! Linux only. CPU time has a resolution of one clock tick (10 ms), so a measured window should last seconds.

use std::time::Duration;

use anyhow::Context;

/// Linux reports CPU time to user space in hundredths of a second (`USER_HZ`, time(7)), whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// Returns user plus system time of all threads of `pid`, running and exited (proc_pid_stat(5), fields 14 and 15).
///
/// # Errors
/// The process does not exist.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    ticks(&stat).map(|ticks| TICK * ticks).with_context(|| format!("/proc/{pid}/stat has an unexpected format"))
}

/// Returns user plus system time of `pid` and of all its running descendants, for servers of several processes.
///
/// # Errors
/// The process does not exist, or `/proc` cannot be read.
pub fn tree_cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let processes = std::fs::read_dir("/proc").context("reading /proc")?;
    // A process that exits in between is not counted.
    let stats: Vec<(u32, u32)> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|member: u32| {
            Some((member, parent(&std::fs::read_to_string(format!("/proc/{member}/stat")).ok()?)?))
        })
        .collect();
    let descendants = process_tree(pid, &stats).into_iter().skip(1);
    let times = descendants.filter_map(|member| cpu_time(member).ok());
    Ok(cpu_time(pid)? + times.sum::<Duration>())
}

/// Returns `pid`, then its descendants, from pairs of process and parent.
fn process_tree(pid: u32, processes: &[(u32, u32)]) -> Vec<u32> {
    let mut members = vec![pid];
    let mut visited = 0;
    while let Some(&parent) = members.get(visited) {
        members.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(member, _)| member));
        visited += 1;
    }
    members
}

/// Returns the parent's process id (proc_pid_stat(5), field 4).
fn parent(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns the resident memory of `pid` in bytes (proc_pid_status(5), `VmRSS`).
///
/// # Errors
/// The process does not exist.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    resident(&status).with_context(|| format!("/proc/{pid}/status has no VmRSS"))
}

/// Sums utime and stime. The command name may contain spaces and parentheses, so fields are counted from its last
/// `)`.
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
    fn a_process_tree_contains_all_descendants() {
        assert_eq!(parent("7 (a b) c) S 1 7 7 0 -1"), Some(1));
        assert_eq!(process_tree(5, &[(1, 0), (9, 7), (7, 5), (6, 5), (8, 1)]), [5, 7, 6, 9]);
    }

    #[test]
    fn the_cpu_time_of_a_child_counts() {
        let pid = std::process::id();
        let script = "while :; do :; done";
        let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while cpu_time(child.id()).unwrap() < TICK && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let of_child = cpu_time(child.id()).unwrap();
        let (alone, process_tree) = (cpu_time(pid).unwrap(), tree_cpu_time(pid).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_child >= TICK && process_tree >= alone + of_child, "{of_child:?} {alone:?} {process_tree:?}");
    }

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
    }
}
