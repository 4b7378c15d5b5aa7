//! `twinway migrate`: replaces this process with `twinway-migrate`, a separate program that links the stores of AWS and
//! of the shim.
//!
//! The program is looked up in the directory of this executable and then on `PATH`, as git and cargo look up their
//! subcommands.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use super::exit::CommandError;

const MIGRATE_PROGRAM: &str = "twinway-migrate";

/// Arguments after `migrate`, passed on unchanged.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct MigrateArgs {
    /// Arguments of twinway-migrate; see twinway migrate --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Replaces this process; returns only if the program cannot be started.
pub(super) fn run_migrate(arguments: &MigrateArgs) -> Result<ExitCode, CommandError> {
    // `exec` looks up a bare name on PATH.
    let program = sibling_program().unwrap_or_else(|| PathBuf::from(MIGRATE_PROGRAM));
    let error = Command::new(&program).args(&arguments.arguments).exec();
    Err(CommandError::unavailable_error(match error.kind() {
        ErrorKind::NotFound => format!(
            "{MIGRATE_PROGRAM} is neither in the directory of this program nor on PATH; install it from the source of \
             the same version with `cargo install --locked --path migrate`"
        ),
        _ => format!("{} cannot be started: {error}", program.display()),
    }))
}

fn sibling_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(MIGRATE_PROGRAM);
    path.is_file().then_some(path)
}
