//! Process of a function from the server's side: started by its supervisor, or directly.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::definition::{FunctionDefinition, SupervisorCommand};
use crate::supervisor::{LaunchRequest, SupervisorReport, TERMINATE_COMMAND};

/// Maximum time for the supervisor to kill the function and its descendants.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// A running function process.
pub(crate) struct FunctionProcess {
    /// The supervisor, or the function itself.
    child: Child,
    /// Process group of the function, whose id is that of its process.
    group: Option<Pid>,
    supervision: Option<SupervisorLink>,
}

/// Socket pair to the supervisor.
struct SupervisorLink {
    commands: OwnedWriteHalf,
    reports: Lines<BufReader<OwnedReadHalf>>,
}

/// Command line and environment of a process: the function's runtime, or an extension.
pub(crate) struct ProcessLaunch<'d> {
    pub executable: &'d Path,
    pub arguments: &'d [String],
    pub definition: &'d FunctionDefinition,
    pub environment: BTreeMap<String, String>,
}

impl FunctionProcess {
    /// Starts a process.
    pub async fn start(launch: ProcessLaunch<'_>) -> io::Result<Self> {
        let definition = launch.definition;
        match &definition.supervisor {
            Some(supervisor) => {
                let started = Self::start_supervised(launch, supervisor);
                let timeout = definition.limits.init_timeout;
                tokio::time::timeout(timeout, started).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
            None => Self::start_directly(launch),
        }
    }

    async fn start_supervised(launch: ProcessLaunch<'_>, supervisor: &SupervisorCommand) -> io::Result<Self> {
        let definition = launch.definition;
        let (own, inherited) = UnixStream::pair()?;
        let inherited = inherited.into_std()?;
        inherited.set_nonblocking(false)?;
        let mut command = Command::new(&supervisor.executable);
        command.args(&supervisor.arguments).arg(launch.executable).args(launch.arguments);
        command.arg0("twinway").env_clear().current_dir(&definition.program.task_root);
        command.stdin(OwnedFd::from(inherited)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.process_group(0).spawn()?;
        // Closes this process's copy of the supervisor's end.
        drop(command);
        let (reports, mut commands) = own.into_split();
        let mut request = serde_json::to_vec(&LaunchRequest {
            environment: launch.environment,
            user: definition.user,
            open_files: supervisor.open_files,
        })?;
        request.push(b'\n');
        commands.write_all(&request).await?;
        let mut reports = BufReader::new(reports).lines();
        let report = reports.next_line().await?;
        let group = match report.as_deref().and_then(SupervisorReport::parse) {
            Some(SupervisorReport::Started(group)) => group,
            Some(SupervisorReport::Failed(error)) => return Err(io::Error::from_raw_os_error(error)),
            Some(SupervisorReport::Exited(_)) | None => {
                return Err(io::Error::other("the supervisor did not start the function"));
            }
        };
        Ok(Self { child, group: Some(group), supervision: Some(SupervisorLink { commands, reports }) })
    }

    fn start_directly(launch: ProcessLaunch<'_>) -> io::Result<Self> {
        let definition = launch.definition;
        let mut command = Command::new(launch.executable);
        command.args(launch.arguments).current_dir(&definition.program.task_root);
        command.env_clear().envs(launch.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = definition.user {
            user.apply(command.as_std_mut());
        }
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group, supervision: None })
    }

    /// Returns the id of the function's process.
    pub fn id(&self) -> Option<i32> {
        self.group.map(|group| group.as_raw_nonzero().get())
    }

    /// Returns the process's output streams, once.
    pub fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits until the process has exited. Cancel safe.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(link) = &mut self.supervision
            && let Ok(Some(line)) = link.reports.next_line().await
            && let Some(SupervisorReport::Exited(status)) = SupervisorReport::parse(&line)
        {
            return Ok(ExitStatus::from_raw(status));
        }
        // Without a supervisor, or after its premature end.
        self.child.wait().await
    }

    /// Sends SIGTERM to the process group.
    pub fn terminate(&self) {
        match &self.supervision {
            // Fails when the supervisor has exited.
            Some(link) => drop(link.commands.try_write(&[TERMINATE_COMMAND])),
            None => self.signal_group(Signal::TERM),
        }
    }

    /// Kills the process and its descendants (without a supervisor: its process group), and reaps it. Returns its
    /// status unless [`Self::wait`] has returned it before.
    pub async fn kill(&mut self) -> Option<ExitStatus> {
        let mut status = None;
        if let Some(SupervisorLink { commands, mut reports }) = self.supervision.take() {
            // The supervisor reads the end of the stream.
            drop(commands);
            let killed = async {
                let report = reports.next_line().await.ok().flatten();
                self.child.wait().await.map(|_| report)
            };
            let report = tokio::time::timeout(KILL_TIMEOUT, killed).await.map_or(None, Result::ok).flatten();
            if let Some(SupervisorReport::Exited(raw)) = report.as_deref().and_then(SupervisorReport::parse) {
                status = Some(ExitStatus::from_raw(raw));
            }
            // Fails when the supervisor has exited, as it should have.
            let _ = self.child.start_kill();
        }
        self.signal_group(Signal::KILL);
        let reaped = self.child.wait().await.ok();
        status.or(reaped)
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when the group has exited already.
            let _ = kill_process_group(group, signal);
        }
    }
}
