//! The functions of `examples/`, served as their READMEs describe, and compared with the code in the repository's
//! README.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tests::server::TwinwayServer;
use tokio::process::Command;

use super::{ask, binary, connect};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a directory of the repository")
}

fn example(path: &str) -> PathBuf {
    repository().join("examples").join(path)
}

/// Serves the directory with `--functions` and sends a message.
async fn serve_and_echo(functions: &Path) {
    let command = format!("exec \"$@\" --functions {} --message-response two-way", functions.display());
    let mut server = TwinwayServer::launch().under_program(&["sh", "-c", &command, "sh"]).start().await;
    let mut client = connect(&server).await;
    for text in ["hello", "again"] {
        let reply = ask(&mut client, text).await;
        let (connection, echo) = reply.split_once(" sent: ").unwrap_or_else(|| panic!("{reply:?} is not an echo"));
        assert_eq!(echo, text);
        assert!(connection.ends_with('='), "{connection:?} is not a connection id");
    }
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_example_echoes() {
    let functions = tempfile::tempdir().unwrap();
    let message = functions.path().join("message");
    std::fs::create_dir(&message).unwrap();
    std::fs::copy(binary("example_echo_rust").unwrap(), message.join("bootstrap")).unwrap();
    serve_and_echo(functions.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_example_echoes() {
    let Some(environment) = python_environment().await else { return };
    let functions = tempfile::tempdir().unwrap();
    let message = functions.path().join("message");
    std::fs::create_dir(&message).unwrap();
    for file in ["app.py", "bootstrap"] {
        std::fs::copy(example("echo-python").join(file), message.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(environment, message.join("venv")).unwrap();
    serve_and_echo(functions.path()).await;
}

/// Time for pip to download and install packages, which depends on the network.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Creates a virtual environment in the build directory with the requirements of the example. Prints the reason and
/// returns `None` if pip cannot install them, unless `TWINWAY_TEST_SDKS` is set.
async fn python_environment() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples/python");
    let mut install = Command::new(repository().join("tests/scripts/venv.sh"));
    install.arg(&directory).arg(example("echo-python/requirements.txt")).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(INSTALL_TIMEOUT, install.output()).await;
    let output = output.expect("pip ends within its timeout").expect("bash runs the script");
    if output.status.success() {
        return Some(directory);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(std::env::var_os("TWINWAY_TEST_SDKS").is_none(), "pip failed: {error}");
    eprintln!("SKIPPED: pip failed, so the Python example was not run: {error}");
    None
}

#[test]
fn the_python_examples_bootstrap_is_executable() {
    let mode = std::fs::metadata(example("echo-python/bootstrap")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn the_readme_shows_the_examples_as_they_are() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for (language, path) in [("rust", "echo-rust/src/main.rs"), ("python", "echo-python/app.py")] {
        let source = std::fs::read_to_string(example(path)).unwrap();
        let block = format!("```{language}\n{source}```\n");
        assert!(readme.contains(&block), "README.md has no block '{language}' with the text of examples/{path}");
    }
}
