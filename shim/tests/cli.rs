//! Tests of the `twinway` binary: exit codes and output that scripts rely on. `shim::cli` tests the commands, `tests`
//! the server.
//!
//! The existence of this file also makes `cargo test` build the plain `twinway` that the integration tests start.

use std::process::{Command, Output};

fn twinway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twinway")).args(arguments).env_clear().output().expect("the binary runs")
}

#[test]
fn the_version_is_the_packages() {
    let output = twinway(&["version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_usage_error_exits_with_64_and_names_the_argument() {
    let output = twinway(&["serve", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-such-flag"));
}

#[test]
fn a_missing_message_function_is_a_configuration_error() {
    for command in [&["config", "check"][..], &["serve"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--functions", "/no/such/directory"]);
        let output = twinway(&arguments);
        assert_eq!(output.status.code(), Some(64), "{command:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("the function 'message' is missing"));
    }
}
