//! `twinway migrate`: runs `twinway-migrate`, a program of its own, because it alone knows the stores of both edges.
//!
//! It is looked for beside this executable and then on `PATH`, as git and cargo look for their subcommands, and takes this
//! process over.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use super::exit::CommandError;

/// The program's name.
const MIGRATE_PROGRAM: &str = "twinway-migrate";

/// Everything behind `migrate`, as it is.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct MigrateArgs {
    /// Arguments of twinway-migrate; see twinway migrate --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes the other program; returns only when that is not possible.
pub(super) fn run_migrate(arguments: &MigrateArgs) -> Result<ExitCode, CommandError> {
    // `exec` looks for a bare name on PATH.
    let program = sibling_program().unwrap_or_else(|| PathBuf::from(MIGRATE_PROGRAM));
    let error = Command::new(&program).args(&arguments.arguments).exec();
    Err(CommandError::unavailable_error(match error.kind() {
        ErrorKind::NotFound => format!(
            "{MIGRATE_PROGRAM} is neither beside this program nor on PATH; it comes with the same release: put it there, or build it \
             with `cargo build --release -p migrate`"
        ),
        _ => format!("{} cannot be started: {error}", program.display()),
    }))
}

fn sibling_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(MIGRATE_PROGRAM);
    path.is_file().then_some(path)
}
