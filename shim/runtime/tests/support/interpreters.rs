//! Interpreters of this machine.

/// Returns the output of an interpreter, or `None`, with a note, when it is not installed.
pub fn installed(command: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(command).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        _ => {
            assert!(std::env::var_os("TWINWAY_TEST_SDKS").is_none(), "{command} is not installed");
            eprintln!("SKIPPED: {command} is not installed, so nothing was checked");
            None
        }
    }
}

/// Returns the major version of Node.js, or `None`, with a note, when it is not installed.
pub fn node_major() -> Option<u32> {
    installed("node", &["-p", "process.versions.node.split('.')[0]"])?.parse().ok()
}
