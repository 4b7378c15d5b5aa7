//! Program of a function: a `bootstrap`, or a command line such as a runtime interface client's.
//!
//! The constructors check that the file exists, is executable and has the architecture of this machine, so that
//! operators get configuration errors at start-up instead of failed invocations.

mod format;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// File that Lambda's custom runtimes start (Lambda developer guide, `runtimes-custom`).
const BOOTSTRAP_FILE: &str = "bootstrap";

/// An executable program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) task_root: PathBuf,
    pub(crate) handler: String,
    pub(crate) platform: ProgramPlatform,
}

/// Parts of the execution environment that a managed runtime and layers determine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProgramPlatform {
    /// `AWS_EXECUTION_ENV`; only managed runtimes have it.
    pub execution_environment: Option<String>,
    /// Directories of search path variables.
    pub paths: BTreeMap<&'static str, Vec<String>>,
    /// Directory that takes the place of `/opt`.
    pub layer_root: Option<PathBuf>,
    /// Executables of external extensions.
    pub extensions: Vec<PathBuf>,
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
    /// The script begins with a byte order mark, which precedes `#!`.
    #[error("{path} begins with a byte order mark in front of '#!'; save it as UTF-8 without byte order mark", path = .0.display())]
    ByteOrderMark(PathBuf),
    /// The first line of the script ends with CR LF; the kernel takes the CR as part of the interpreter.
    #[error("{path} has Windows line endings (CR LF); run 'sed -i \"s/\\r$//\" {path}' on it", path = .0.display())]
    WindowsLineEnding(PathBuf),
    /// The script's interpreter is missing or not executable.
    #[error("{path} requires the interpreter {interpreter}, which is not an executable file", path = .path.display(), interpreter = .interpreter.display())]
    InterpreterNotFound {
        /// The script.
        path: PathBuf,
        interpreter: PathBuf,
    },
    /// The dynamic loader of the ELF executable is missing.
    #[error("{path} requires the dynamic loader {loader}, which is not an executable file; build it for this system's C library, or statically", path = .path.display(), loader = .loader.display())]
    LoaderNotFound {
        /// The executable.
        path: PathBuf,
        loader: PathBuf,
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
    /// `search_path` is the function's `PATH`, where `#!/usr/bin/env` looks up the interpreter.
    ///
    /// # Errors
    /// [`ProgramError`] when the file cannot be executed.
    pub fn from_bootstrap(path: &Path, search_path: &str) -> Result<Self, ProgramError> {
        let path = path.canonicalize().map_err(|source| unreadable_error(path, source))?;
        let executable = if path.is_dir() { path.join(BOOTSTRAP_FILE) } else { path };
        let task_root = executable.parent().map(Path::to_owned).unwrap_or_default();
        if !executable.exists() {
            return Err(ProgramError::BootstrapNotFound(task_root));
        }
        check_executable(&executable, search_path)?;
        let (handler, platform) = (BOOTSTRAP_FILE.to_owned(), ProgramPlatform::default());
        Ok(Self { executable, arguments: Vec::new(), task_root, handler, platform })
    }

    /// Returns the program of a command line, run in `task_root`. A command without a slash is looked up in
    /// `search_path`, the value of `PATH`; the last argument is the handler, as for runtime interface clients.
    ///
    /// # Errors
    /// [`ProgramError`] when the command cannot be executed.
    pub fn from_command(line: &[String], task_root: &Path, search_path: &str) -> Result<Self, ProgramError> {
        let (command, arguments) = line.split_first().ok_or(ProgramError::EmptyCommand)?;
        let task_root = task_root.canonicalize().map_err(|source| unreadable_error(task_root, source))?;
        let executable = if command.contains('/') {
            task_root.join(command)
        } else {
            find_command(command, search_path).ok_or_else(|| ProgramError::CommandNotFound(command.clone()))?
        };
        check_executable(&executable, search_path)?;
        let handler = arguments.last().unwrap_or(command).clone();
        Ok(Self { executable, arguments: arguments.to_vec(), task_root, handler, platform: ProgramPlatform::default() })
    }

    /// Returns the program with another `_HANDLER`.
    #[must_use]
    pub fn with_handler(self, handler: &str) -> Self {
        Self { handler: handler.to_owned(), ..self }
    }

    /// Returns the directory of the code, in which the program runs.
    #[must_use]
    pub fn task_root(&self) -> &Path {
        &self.task_root
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

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the executable file that `command` names in the directories of `search_path`.
fn find_command(command: &str, search_path: &str) -> Option<PathBuf> {
    search_path.split(':').map(|directory| Path::new(directory).join(command)).find(|file| is_executable(file))
}

/// Checks the file as `execve` would.
pub(crate) fn check_executable(path: &Path, search_path: &str) -> Result<(), ProgramError> {
    let found = path.metadata().map_err(|source| unreadable_error(path, source))?;
    if !found.is_file() {
        return Err(ProgramError::NotAFile(path.to_owned()));
    }
    if !is_executable(path) {
        return Err(ProgramError::NotExecutable(path.to_owned()));
    }
    format::check_format(path, search_path)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::format::ELF_MACHINE;
    use super::*;

    const SEARCH_PATH: &str = "/no/such:/bin:/usr/bin";

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
        Program::from_bootstrap(directory.path(), SEARCH_PATH).unwrap_err().to_string()
    }

    #[test]
    fn errors_state_why_a_program_cannot_run() {
        let missing = Program::from_bootstrap(Path::new("/no/such/directory"), SEARCH_PATH).unwrap_err();
        assert!(matches!(missing, ProgramError::Unreadable { .. }), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        let empty = Program::from_bootstrap(directory.path(), SEARCH_PATH).unwrap_err();
        assert!(matches!(empty, ProgramError::BootstrapNotFound(_)), "{empty}");
        assert!(error_text(b"#!/bin/sh\n", 0o644).contains("not executable"));
        assert!(error_text(b"#!/no/such/shell -e\n", 0o755).contains("interpreter /no/such/shell"));
        assert!(error_text(b"#!/usr/bin/env no-such-python\n", 0o755).contains("interpreter no-such-python"));
        assert!(
            error_text(b"#!/usr/bin/env -S A=b no-such-python -u\n", 0o755).contains("interpreter no-such-python,")
        );
        assert!(error_text(b"#!/usr/bin/env sh -e\n", 0o755).contains("interpreter sh -e,"), "env looks up one name");
        for script in [&b"#!/bin/sh\r\nexit 0\r\n"[..], b"#!/usr/bin/env sh\r\n", b"#! /bin/sh -e\r\n"] {
            assert!(error_text(script, 0o755).contains("Windows line endings (CR LF)"), "{}", script.escape_ascii());
        }
        assert!(error_text(b"\xef\xbb\xbf#!/bin/sh\n", 0o755).contains("byte order mark"));
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
    fn a_missing_dynamic_loader_is_named() {
        let executable = std::env::current_exe().unwrap();
        let mut binary = std::fs::read(&executable).unwrap();
        let loader = b"/ld-linux-";
        let Some(at) = binary.windows(loader.len()).position(|bytes| bytes == loader) else { return };
        let directory = tempfile::tempdir().unwrap();
        let unchanged = file(directory.path(), &binary[..], 0o755);
        Program::from_bootstrap(&unchanged, SEARCH_PATH).unwrap();
        binary[at + 1] = b'X';
        assert!(error_text(&binary, 0o755).contains("/Xd-linux-"));
    }

    #[test]
    fn the_first_line_of_a_script_is_parsed_as_by_the_kernel() {
        let directory = tempfile::tempdir().unwrap();
        for line in
            ["#!/bin/sh", "#! \t/bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S A=b sh -e", "#!/usr/bin/env"]
        {
            let path = file(directory.path(), format!("{line}\nexit 0\r\n").as_bytes(), 0o755);
            Program::from_bootstrap(&path, SEARCH_PATH).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_directory_a_file_and_a_command_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), b"#!/bin/sh\nexit 0\n", 0o755);
        let program = Program::from_bootstrap(directory.path(), SEARCH_PATH).unwrap();
        assert_eq!(program, Program::from_bootstrap(&path, SEARCH_PATH).unwrap());
        assert_eq!(program.task_root, directory.path().canonicalize().unwrap());
        let line = ["sh".to_owned(), "-c".to_owned(), "app.handler".to_owned()];
        let program = Program::from_command(&line, directory.path(), SEARCH_PATH).unwrap();
        assert_eq!((program.handler.as_str(), program.arguments.len()), ("app.handler", 2));
        let unknown = Program::from_command(&["no-such-command".to_owned()], directory.path(), "/bin").unwrap_err();
        assert!(matches!(unknown, ProgramError::CommandNotFound(_)), "{unknown}");
        assert!(matches!(Program::from_command(&[], directory.path(), ""), Err(ProgramError::EmptyCommand)));
    }
}
