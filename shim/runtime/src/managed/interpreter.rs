//! Search for the interpreter of a runtime in `PATH`.
//!
//! Every candidate is started once to read its version and its real path: version managers put scripts into `PATH` that fail
//! when their version is not active, and that need variables that functions do not have.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::error::ManagedRuntimeError;
use super::runtime_id::{RuntimeFamily, RuntimeId};
use crate::program::is_executable;

/// Maximum time of an interpreter to print its version.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum bytes of the output that are read.
const MAX_PROBE_OUTPUT: u64 = 16 * 1024;
/// Variables that candidates inherit: those of version managers, in addition to `PATH` and `HOME`.
const INHERITED_PREFIXES: [&str; 10] =
    ["PYENV_", "ASDF_", "VOLTA_", "NVM_", "FNM_", "MISE_", "RBENV_", "JAVA_HOME", "DOTNET_ROOT", "VIRTUAL_ENV"];

/// Prints path, version and experimental features, each on a line.
const NODE_PROBE: &str =
    "const flags = [...process.allowedNodeEnvironmentFlags].filter((flag) => flag.startsWith('--experimental-'));
console.log([process.execPath, process.versions.node, ...flags.map((flag) => flag.slice(2))].join('\\n'))";
const PYTHON_PROBE: &str = "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])";
const RUBY_PROBE: &str = "puts RbConfig.ruby, RUBY_VERSION";

/// An interpreter that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub path: PathBuf,
    /// Version with as many parts as runtime ids of its family have: `22`, `3.13`.
    pub version: String,
    /// Complete version, such as `3.13.1`.
    pub full_version: String,
    /// Names of experimental features of Node.js.
    pub features: Vec<String>,
}

impl Interpreter {
    /// Returns a warning when the version is not that of the runtime id.
    pub fn version_warning(&self, runtime: &RuntimeId) -> Option<String> {
        (self.version != runtime.version).then(|| {
            let (path, found) = (self.path.display(), &self.full_version);
            format!("the runtime {runtime} runs on version {found} of {path}; install version {}", runtime.version)
        })
    }
}

/// Returns the first interpreter in `search_path` with the version of the runtime, otherwise the first one that starts.
pub(super) fn find_interpreter(runtime: &RuntimeId, search_path: &str) -> Result<Interpreter, ManagedRuntimeError> {
    let names = command_names(runtime);
    let mut fallback = None;
    for candidate in candidates(&names, search_path) {
        match probe_cached(runtime.family, &candidate) {
            Some(found) if found.version == runtime.version => return Ok(found),
            found => fallback = fallback.or(found),
        }
    }
    fallback.ok_or_else(|| ManagedRuntimeError::InterpreterNotFound {
        runtime: runtime.to_string(),
        command: names.join(" or "),
        remedy: installation_remedy(runtime),
    })
}

/// Returns the commands of a runtime, the most specific one first.
fn command_names(runtime: &RuntimeId) -> Vec<String> {
    let version = &runtime.version;
    let named = |specific: String, general: &[&str]| {
        [specific].into_iter().chain(general.iter().map(|name| (*name).to_owned())).collect()
    };
    match runtime.family {
        RuntimeFamily::Node => named(format!("node{version}"), &["node", "nodejs"]),
        RuntimeFamily::Python => named(format!("python{version}"), &["python3", "python"]),
        RuntimeFamily::Ruby => named(format!("ruby{version}"), &["ruby"]),
        RuntimeFamily::Java => vec!["java".to_owned()],
        RuntimeFamily::Dotnet => vec!["dotnet".to_owned()],
        RuntimeFamily::Provided => Vec::new(),
    }
}

fn installation_remedy(runtime: &RuntimeId) -> String {
    let version = &runtime.version;
    match runtime.family {
        RuntimeFamily::Node => format!("install Node.js {version}, for example with 'nvm install {version}'"),
        RuntimeFamily::Python => format!("install Python {version}, for example with 'uv python install {version}'"),
        RuntimeFamily::Ruby => format!("install Ruby {version}, for example with 'rbenv install {version}'"),
        RuntimeFamily::Java => {
            format!(
                "install a Java runtime of version {version}, for example the package openjdk-{version}-jre-headless"
            )
        }
        RuntimeFamily::Dotnet => format!("install the .NET runtime {version} (package dotnet-runtime-{version}.0)"),
        RuntimeFamily::Provided => String::new(),
    }
}

/// Returns the executable files with these names, names first, in the order of `search_path`.
fn candidates(names: &[String], search_path: &str) -> Vec<PathBuf> {
    let folders: Vec<&Path> = search_path.split(':').filter(|folder| !folder.is_empty()).map(Path::new).collect();
    let files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut found: Vec<PathBuf> = Vec::new();
    for file in files.filter(|file| is_executable(file)) {
        if !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// Probes a candidate once in the life of this process.
fn probe_cached(family: RuntimeFamily, candidate: &Path) -> Option<Interpreter> {
    static PROBED: Mutex<BTreeMap<PathBuf, Option<Interpreter>>> = Mutex::new(BTreeMap::new());
    let mut probed = PROBED.lock().unwrap_or_else(PoisonError::into_inner);
    probed.entry(candidate.to_owned()).or_insert_with(|| probe(family, candidate)).clone()
}

fn probe(family: RuntimeFamily, candidate: &Path) -> Option<Interpreter> {
    let arguments: &[&str] = match family {
        RuntimeFamily::Node => &["-e", NODE_PROBE],
        RuntimeFamily::Python => &["-c", PYTHON_PROBE],
        RuntimeFamily::Ruby => &["-e", RUBY_PROBE],
        RuntimeFamily::Java => &["-XshowSettings:properties", "-version"],
        RuntimeFamily::Dotnet | RuntimeFamily::Provided => &["--version"],
    };
    let output = run_probe(candidate, arguments, family == RuntimeFamily::Java)?;
    match family {
        RuntimeFamily::Java => parse_java(candidate, &output),
        RuntimeFamily::Dotnet | RuntimeFamily::Provided => {
            let full = output.trim();
            Some(interpreter(candidate, full, full.split('.').next()?))
        }
        RuntimeFamily::Node | RuntimeFamily::Python | RuntimeFamily::Ruby => parse_lines(family, &output),
    }
}

fn parse_lines(family: RuntimeFamily, output: &str) -> Option<Interpreter> {
    let mut lines = output.lines();
    let (path, full) = (lines.next()?, lines.next()?);
    let parts = if family == RuntimeFamily::Node { 1 } else { 2 };
    let version = full.split('.').take(parts).collect::<Vec<_>>().join(".");
    let found = interpreter(Path::new(path), full, &version);
    Some(Interpreter { features: lines.map(str::to_owned).collect(), ..found })
}

/// Reads `java.home` and `java.specification.version` (`1.8` for Java 8).
fn parse_java(candidate: &Path, output: &str) -> Option<Interpreter> {
    let property =
        |name: &str| output.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix("= "));
    let version = property("java.specification.version")?;
    let own = property("java.home").map(|home| Path::new(home).join("bin/java")).filter(|path| is_executable(path));
    let version = version.strip_prefix("1.").unwrap_or(version);
    Some(interpreter(&own.unwrap_or_else(|| candidate.to_owned()), version, version))
}

fn interpreter(path: &Path, full_version: &str, version: &str) -> Interpreter {
    let (full_version, version) = (full_version.to_owned(), version.to_owned());
    Interpreter { path: path.to_owned(), full_version, version, features: Vec::new() }
}

/// Runs a candidate and returns its output, or its error stream; `None` when it fails.
fn run_probe(candidate: &Path, arguments: &[&str], of_stderr: bool) -> Option<String> {
    let mut command = Command::new(candidate);
    command.args(arguments).env_clear().stdin(Stdio::null());
    let inherited = |name: &str| {
        ["PATH", "HOME"].contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(inherited)));
    command.stdout(if of_stderr { Stdio::null() } else { Stdio::piped() });
    command.stderr(if of_stderr { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().ok()?;
    let stream: Box<dyn std::io::Read + Send> =
        if of_stderr { Box::new(child.stderr.take()?) } else { Box::new(child.stdout.take()?) };
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stream.take(MAX_PROBE_OUTPUT).read_to_string(&mut text);
        // Fails when the time is over.
        let _ = send.send(read.map(|_| text));
    });
    let output = received.recv_timeout(PROBE_TIMEOUT).ok().and_then(Result::ok);
    if output.is_none() {
        // Fails when the process has exited.
        let _ = child.kill();
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    output.filter(|_| succeeded)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_matching_version_is_preferred_and_broken_shims_are_skipped() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        script(first.path(), "python3.13", "echo 'version not active' >&2; exit 127");
        script(first.path(), "python3", "printf '/first/python3\\n3.11.7\\n'");
        script(second.path(), "python3", "printf '/second/python3\\n3.13.2\\n'");
        let search_path = format!("{}::{}", first.path().display(), second.path().display());
        let runtime = RuntimeId::parse("python3.13").unwrap();
        let found = find_interpreter(&runtime, &search_path).unwrap();
        assert_eq!((found.path.to_str(), found.version_warning(&runtime)), (Some("/second/python3"), None));
        let other = RuntimeId::parse("python3.12").unwrap();
        let found = find_interpreter(&other, &search_path).unwrap();
        let expected = "the runtime python3.12 runs on version 3.11.7 of /first/python3; install version 3.12";
        assert_eq!(found.version_warning(&other).as_deref(), Some(expected));
    }

    #[test]
    fn a_missing_interpreter_is_named_with_its_installation() {
        let runtime = RuntimeId::parse("nodejs22.x").unwrap();
        let error = find_interpreter(&runtime, "/no/such/folder").unwrap_err().to_string();
        assert!(error.contains("node22 or node or nodejs") && error.contains("install Node.js 22"), "{error}");
    }

    #[test]
    fn the_version_of_java_is_its_specification() {
        let output = "Property settings:\n    java.home = /no/such/jvm\n    java.specification.version = 1.8\n";
        let found = parse_java(Path::new("/usr/bin/java"), output).unwrap();
        assert_eq!((found.path.to_str(), &*found.version), (Some("/usr/bin/java"), "8"));
    }
}
