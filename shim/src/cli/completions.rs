//! `twinway completions`: a script that teaches a shell the command line.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Terminal;
use super::exit::Failure;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway completions bash > ~/.local/share/bash-completion/completions/twinway
  twinway completions zsh > \"${fpath[1]}/_twinway\"
  twinway completions fish > ~/.config/fish/completions/twinway.fish";

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(
    arguments: &CompletionsArgs,
    command: &mut Command,
    terminal: &mut Terminal<'_>,
) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "twinway", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))
}
