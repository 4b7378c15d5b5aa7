//! Program of a function: a `bootstrap`, or a command line such as a runtime interface client's.
//!
//! The constructors check that the file exists, is executable and has the architecture of this machine, so that
//! operators get configuration errors at start-up instead of failed invocations.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// File that Lambda's custom runtimes start (Lambda developer guide, `runtimes-custom`).
const BOOTSTRAP_FILE: &str = "bootstrap";
/// `e_machine` of this machine (elf(5)); 0 on other architectures, where the check is skipped.
const ELF_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    0
};

/// An executable program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) task_root: PathBuf,
    pub(crate) handler: String,
}

/// Error of checking a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The file does not exist or cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The directory has no `bootstrap`.
    #[error("{path} has no file 'bootstrap'", path = .0.display())]
    BootstrapNotFound(PathBuf),
    /// The path is not a regular file.
    #[error("{path} is not a regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// The file has no execute permission.
    #[error("{path} is not executable; run 'chmod +x' on it", path = .0.display())]
    NotExecutable(PathBuf),
    /// The file was built for another architecture.
    #[error("{path} was built for {found}, but this machine is {here}", path = .path.display(), here = std::env::consts::ARCH)]
    WrongArchitecture {
        path: PathBuf,
        /// Architecture of the file.
        found: String,
    },
    /// The file is neither an ELF executable nor a script.
    #[error("{path} is neither an ELF executable nor a script that begins with '#!'", path = .0.display())]
    UnknownFormat(PathBuf),
    /// The script's interpreter is missing or not executable.
    #[error("{path} requires the interpreter {interpreter}, which is not an executable file", path = .path.display(), interpreter = .interpreter.display())]
    InterpreterNotFound {
        /// The script.
        path: PathBuf,
        interpreter: PathBuf,
    },
    /// No directory of `PATH` has the command.
    #[error("command {0:?} not found in PATH")]
    CommandNotFound(String),
    /// The command line is empty.
    #[error("the command line is empty")]
    EmptyCommand,
}

impl Program {
    /// Returns the program of a `bootstrap`: the file itself, or the directory of an unpacked deployment package.
    ///
    /// # Errors
    /// [`ProgramError`] when the file cannot be executed.
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

    /// Returns the program of a command line, run in `task_root`. A command without a slash is looked up in `path`, the
    /// value of `PATH`; the last argument is the handler, as for runtime interface clients.
    ///
    /// # Errors
    /// [`ProgramError`] when the command cannot be executed.
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

    /// Returns the program with another `_HANDLER`.
    #[must_use]
    pub fn with_handler(self, handler: &str) -> Self {
        Self { handler: handler.to_owned(), ..self }
    }

    /// Returns the path of the executable file.
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

/// Checks the file as `execve` would.
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
    // Other systems have other formats of executables; there only `execve` checks them, at the first invocation.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Err(ProgramError::UnknownFormat(path.to_owned()));
    }
    // EI_DATA is the byte order of e_machine.
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

    fn error_text(content: &[u8], mode: u32) -> String {
        let directory = tempfile::tempdir().unwrap();
        file(directory.path(), content, mode);
        Program::from_bootstrap(directory.path()).unwrap_err().to_string()
    }

    #[test]
    fn errors_state_why_a_program_cannot_run() {
        let missing = Program::from_bootstrap(Path::new("/no/such/directory")).unwrap_err();
        assert!(matches!(missing, ProgramError::Unreadable { .. }), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        let empty = Program::from_bootstrap(directory.path()).unwrap_err();
        assert!(matches!(empty, ProgramError::BootstrapNotFound(_)), "{empty}");
        assert!(error_text(b"#!/bin/sh\n", 0o644).contains("not executable"));
        assert!(error_text(b"#!/no/such/shell -e\n", 0o755).contains("interpreter /no/such/shell"));
        if !cfg!(target_os = "linux") {
            return;
        }
        assert!(error_text(b"hello", 0o755).contains("neither an ELF executable nor a script"));
        let mut elf = [0_u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = if ELF_MACHINE == 183 { 62 } else { 183 };
        let other = if ELF_MACHINE == 183 { "x86_64" } else { "aarch64" };
        assert!(error_text(&elf, 0o755).contains(&format!("was built for {other}")));
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
