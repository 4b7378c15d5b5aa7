//! Supervisor of one function process: a helper process that ends the function and all its descendants with the server.
//!
//! ```text
//! server ── socket pair, standard input ── supervisor ── function ── its descendants
//! ```
//! The kernel closes the server's end of the socket pair when the server exits, also after SIGKILL. The supervisor then
//! kills its descendants. On Linux it is a child subreaper (prctl(2)): processes that left the function's process group
//! or session become its children when their parents exit, so none escapes. It has no secrets: its environment is
//! empty, and it receives the function's over the socket pair.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::fchown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, kill_process_group, setrlimit, wait,
};
use serde::{Deserialize, Serialize};

use crate::definition::FunctionUser;

/// Byte that the server sends to have the function's process group terminated with SIGTERM.
pub(crate) const TERMINATE_COMMAND: u8 = b'T';

/// First line that the server sends, in JSON. Program, arguments and directory are those of the supervisor.
#[derive(Serialize, Deserialize)]
pub(crate) struct LaunchRequest {
    pub environment: BTreeMap<String, String>,
    pub user: Option<FunctionUser>,
    /// Soft limit of open files of the function.
    pub open_files: Option<u64>,
}

/// Line that the supervisor sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SupervisorReport {
    /// The function's process has this id, which is also that of its process group.
    Started(Pid),
    /// The function could not be started, with this error of the operating system.
    Failed(i32),
    /// The function exited with this status (wait(2)).
    Exited(i32),
}

impl SupervisorReport {
    fn to_line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {}\n", pid.as_raw_nonzero()),
            Self::Failed(error) => format!("failed {error}\n"),
            Self::Exited(status) => format!("exited {status}\n"),
        }
    }

    pub fn parse(line: &str) -> Option<Self> {
        let (kind, number) = line.split_once(' ')?;
        let number = number.parse().ok()?;
        match kind {
            "started" => Pid::from_raw(number).map(Self::Started),
            "failed" => Some(Self::Failed(number)),
            "exited" => Some(Self::Exited(number)),
            _ => None,
        }
    }
}

/// Runs the supervisor of the function with this program and these arguments, until the function has exited or the
/// server has closed the socket pair on standard input. The server starts it; see [`crate::SupervisorCommand`].
pub fn run_supervisor(command: impl IntoIterator<Item = OsString>) -> ExitCode {
    match supervise_function(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the supervisor of the function failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise_function(command: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let mut server = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut commands = BufReader::new(server.try_clone()?);
    let mut line = String::new();
    commands.read_line(&mut line)?;
    let request: LaunchRequest = serde_json::from_str(&line)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let function = match start_function(command, request) {
        Ok(function) => function,
        Err(error) => {
            let error = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
            return server.write_all(SupervisorReport::Failed(error).to_line().as_bytes());
        }
    };
    // Fails when the server has exited; then reading the commands ends as well.
    let _ = server.write_all(SupervisorReport::Started(function).to_line().as_bytes());
    std::thread::Builder::new().spawn(move || execute_commands(commands, function))?;
    let status = wait_for_exit(function)?;
    let _ = server.write_all(SupervisorReport::Exited(status).to_line().as_bytes());
    kill_descendants(function);
    Ok(())
}

fn start_function(command: impl IntoIterator<Item = OsString>, request: LaunchRequest) -> io::Result<Pid> {
    let mut words = command.into_iter();
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    if let Some(open_files) = request.open_files {
        set_open_files(open_files)?;
    }
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(request.environment).stdin(Stdio::null()).process_group(0);
    if let Some(user) = request.user {
        user.apply(&mut command);
        // Otherwise the function could not open `/dev/stdout` and `/dev/stderr`.
        fchown(io::stdout(), Some(user.uid), Some(user.gid))?;
        fchown(io::stderr(), Some(user.uid), Some(user.gid))?;
    }
    let id = command.spawn()?.id();
    i32::try_from(id).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sets the soft limit of open files of this process, which the function inherits. The supervisor itself needs few.
fn set_open_files(open_files: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(open_files, |maximum| open_files.min(maximum)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// Executes the server's commands until the socket pair is closed, then kills the function.
fn execute_commands(mut commands: BufReader<UnixStream>, function: Pid) {
    let mut command = [0];
    while commands.read_exact(&mut command).is_ok() {
        if command[0] == TERMINATE_COMMAND {
            // Fails when the group has exited already, here and below.
            let _ = kill_process_group(function, Signal::TERM);
        }
    }
    let _ = kill_process_group(function, Signal::KILL);
    let _ = kill_process(function, Signal::KILL);
}

/// Reaps children until the function has exited, and returns its status.
fn wait_for_exit(function: Pid) -> io::Result<i32> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == function => return Ok(status.as_raw()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills the descendants of the function, which has exited, until none is left.
fn kill_descendants(function: Pid) {
    let _ = kill_process_group(function, Signal::KILL);
    if !cfg!(target_os = "linux") {
        return;
    }
    loop {
        for descendant in descendants() {
            let _ = kill_process(descendant, Signal::KILL);
        }
        // Descendants become children of this process when their parents exit. One that was created after the list was
        // read is in the next one, because the exit of its parent ends this wait.
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Returns the descendants of this process (proc(5)).
fn descendants() -> Vec<Pid> {
    let number = |name: OsString| name.to_str()?.parse::<i32>().ok();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(i32, i32)> =
        entries.filter_map(|entry| number(entry.file_name())).filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![rustix::process::getpid().as_raw_nonzero().get()];
    let mut examined = 0;
    while examined < found.len() {
        let parent = found[examined];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        examined += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Returns the parent of a process: the second field after its name, which is in parentheses.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_parsed_as_they_are_written() {
        for report in
            [SupervisorReport::Started(Pid::INIT), SupervisorReport::Failed(2), SupervisorReport::Exited(7 << 8)]
        {
            assert_eq!(SupervisorReport::parse(report.to_line().trim_end()), Some(report));
        }
        assert_eq!(SupervisorReport::parse("started 0"), None);
        assert_eq!(SupervisorReport::parse("exited"), None);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        assert!(descendants().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().contains(&pid));
    }
}
