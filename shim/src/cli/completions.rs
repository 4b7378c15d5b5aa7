//! `twinway completions`: prints a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::CommandIo;
use super::exit::CommandError;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway completions bash > ~/.local/share/bash-completion/completions/twinway
  twinway completions zsh > \"${fpath[1]}/_twinway\"
  twinway completions fish > ~/.config/fish/completions/twinway.fish";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn print_completions(
    arguments: &CompletionsArgs,
    command: &mut Command,
    terminal: &mut CommandIo<'_>,
) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "twinway", &mut script);
    terminal.print_result(&String::from_utf8_lossy(&script))
}
