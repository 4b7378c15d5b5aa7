//! What a function runs: a `bootstrap`, or a command line such as a runtime interface client's.
//!
//! Invariant: a [`Program`] was there, was executable and was made for this machine when it was looked at, so that what an
//! operator got wrong is told at the start and in words, not as a failed invocation.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The file that Lambda's custom runtimes start (Lambda developer guide, `runtimes-custom`).
const BOOTSTRAP_FILE: &str = "bootstrap";
/// `e_machine` of this machine (elf(5)); 0 where this crate does not know it, and nothing is refused.
const ELF_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    0
};

/// Something that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) task_root: PathBuf,
    pub(crate) handler: String,
}

/// Why something cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such file, or it cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A directory has no `bootstrap`.
    #[error("{path} has no file 'bootstrap'", path = .0.display())]
    BootstrapNotFound(PathBuf),
    /// It is no regular file.
    #[error("{path} is no file", path = .0.display())]
    NotAFile(PathBuf),
    /// Nobody may execute it.
    #[error("{path} is not executable; 'chmod +x' makes it so", path = .0.display())]
    NotExecutable(PathBuf),
    /// It was built for another machine.
    #[error("{path} was built for {found}, and this machine is {here}", path = .path.display(), here = std::env::consts::ARCH)]
    WrongArchitecture {
        /// Which file.
        path: PathBuf,
        /// For which machine it was built.
        found: String,
    },
    /// It is neither an ELF executable nor a script.
    #[error("{path} is neither an ELF executable nor a script that begins with '#!'", path = .0.display())]
    UnknownFormat(PathBuf),
    /// A script's interpreter is not there.
    #[error("{path} asks for the interpreter {interpreter}, which is not there", path = .path.display(), interpreter = .interpreter.display())]
    InterpreterNotFound {
        /// Which script.
        path: PathBuf,
        /// What it asks for.
        interpreter: PathBuf,
    },
    /// A command is in none of the directories of `PATH`.
    #[error("there is no command {0:?} in PATH")]
    CommandNotFound(String),
    /// A command line is empty.
    #[error("the command line is empty")]
    EmptyCommand,
}

impl Program {
    /// A `bootstrap`: the file itself, or the directory that a deployment package was unpacked to.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot be run.
    pub fn from_bootstrap(path: &Path) -> Result<Self, ProgramError> {
        let path = path.canonicalize().map_err(|source| unreadable_error(path, source))?;
        let executable = if path.is_dir() { path.join(BOOTSTRAP_FILE) } else { path };
        let task_root = executable.parent().map(Path::to_owned).unwrap_or_default();
        if !executable.exists() {
            return Err(ProgramError::BootstrapNotFound(task_root));
        }
        check_executable(&executable)?;
        Ok(Self { executable, arguments: Vec::new(), task_root, handler: BOOTSTRAP_FILE.to_owned() })
    }

    /// A command line, run in `task_root`. A command without a slash is searched in `path`, the value of `PATH`; the last
    /// argument is the handler, as runtime interface clients take it.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot be run.
    pub fn from_command(line: &[String], task_root: &Path, path: &str) -> Result<Self, ProgramError> {
        let (command, arguments) = line.split_first().ok_or(ProgramError::EmptyCommand)?;
        let task_root = task_root.canonicalize().map_err(|source| unreadable_error(task_root, source))?;
        let executable = if command.contains('/') {
            task_root.join(command)
        } else {
            let mut found = path.split(':').map(|directory| Path::new(directory).join(command));
            found.find(|file| is_executable(file)).ok_or_else(|| ProgramError::CommandNotFound(command.clone()))?
        };
        check_executable(&executable)?;
        let handler = arguments.last().unwrap_or(command).clone();
        Ok(Self { executable, arguments: arguments.to_vec(), task_root, handler })
    }

    /// The same with another `_HANDLER`.
    #[must_use]
    pub fn with_handler(self, handler: &str) -> Self {
        Self { handler: handler.to_owned(), ..self }
    }

    /// The file that is started.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }
}

fn unreadable_error(path: &Path, source: io::Error) -> ProgramError {
    ProgramError::Unreadable { path: path.to_owned(), source }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Looks at the file as `execve` would.
fn check_executable(path: &Path) -> Result<(), ProgramError> {
    let found = path.metadata().map_err(|source| unreadable_error(path, source))?;
    if !found.is_file() {
        return Err(ProgramError::NotAFile(path.to_owned()));
    }
    if !is_executable(path) {
        return Err(ProgramError::NotExecutable(path.to_owned()));
    }
    let mut head = Vec::with_capacity(256);
    let file = File::open(path).map_err(|source| unreadable_error(path, source))?;
    file.take(256).read_to_end(&mut head).map_err(|source| unreadable_error(path, source))?;
    check_format(path, &head)
}

fn check_format(path: &Path, head: &[u8]) -> Result<(), ProgramError> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
        let interpreter = PathBuf::from(line.split_whitespace().next().unwrap_or_default());
        return if is_executable(&interpreter) {
            Ok(())
        } else {
            Err(ProgramError::InterpreterNotFound { path: path.to_owned(), interpreter })
        };
    }
    // Other systems have executables of other formats; there `execve` alone decides, at the first invocation.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Err(ProgramError::UnknownFormat(path.to_owned()));
    }
    // EI_DATA says in which order the bytes of e_machine stand.
    let machine = [head[18], head[19]];
    let machine = if head[5] == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    if ELF_MACHINE != 0 && machine != ELF_MACHINE {
        let found = match machine {
            62 => "x86_64".to_owned(),
            183 => "aarch64".to_owned(),
            other => format!("ELF machine {other}"),
        };
        return Err(ProgramError::WrongArchitecture { path: path.to_owned(), found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    fn file(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
        use std::io::Write as _;

        let path = directory.join(BOOTSTRAP_FILE);
        let mut file = File::options().create(true).write(true).truncate(true).mode(mode).open(&path).unwrap();
        file.write_all(content).unwrap();
        path
    }

    fn refused(content: &[u8], mode: u32) -> String {
        let directory = tempfile::tempdir().unwrap();
        file(directory.path(), content, mode);
        Program::from_bootstrap(directory.path()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let missing = Program::from_bootstrap(Path::new("/no/such/directory")).unwrap_err();
        assert!(matches!(missing, ProgramError::Unreadable { .. }), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        let empty = Program::from_bootstrap(directory.path()).unwrap_err();
        assert!(matches!(empty, ProgramError::BootstrapNotFound(_)), "{empty}");
        assert!(refused(b"#!/bin/sh\n", 0o644).contains("not executable"));
        assert!(refused(b"#!/no/such/shell -e\n", 0o755).contains("interpreter /no/such/shell"));
        if !cfg!(target_os = "linux") {
            return;
        }
        assert!(refused(b"hello", 0o755).contains("neither an ELF executable nor a script"));
        let mut elf = [0_u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = if ELF_MACHINE == 183 { 62 } else { 183 };
        let other = if ELF_MACHINE == 183 { "x86_64" } else { "aarch64" };
        assert!(refused(&elf, 0o755).contains(&format!("was built for {other}")));
    }

    #[test]
    fn a_directory_a_file_and_a_command_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), b"#!/bin/sh\nexit 0\n", 0o755);
        let program = Program::from_bootstrap(directory.path()).unwrap();
        assert_eq!(program, Program::from_bootstrap(&path).unwrap());
        assert_eq!(program.task_root, directory.path().canonicalize().unwrap());
        let line = ["sh".to_owned(), "-c".to_owned(), "app.handler".to_owned()];
        let program = Program::from_command(&line, directory.path(), "/no/such:/bin:/usr/bin").unwrap();
        assert_eq!((program.handler.as_str(), program.arguments.len()), ("app.handler", 2));
        let unknown = Program::from_command(&["no-such-command".to_owned()], directory.path(), "/bin").unwrap_err();
        assert!(matches!(unknown, ProgramError::CommandNotFound(_)), "{unknown}");
        assert!(matches!(Program::from_command(&[], directory.path(), ""), Err(ProgramError::EmptyCommand)));
    }
}
