//! `twinway config`: is the configuration sound, and where does each value come from?

use std::process::ExitCode;

use clap::Subcommand;

use super::exit::Failure;
use super::{Settings, Terminal};
use crate::config::{ConfigError, Mode, reference};

const CHECK_EXAMPLES: &str = "\
Examples:
  twinway config check
  twinway config check --config /etc/twinway/twinway.toml";

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report all mistakes and warnings at once; exit code 64 if there are mistakes
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Settings),
    /// Show every setting, its value and where it came from; secrets are hidden
    Print(Settings),
    /// Print docs/CONFIGURATION.md
    #[command(hide = true)]
    Docs,
    /// Print twinway.toml.example
    #[command(hide = true)]
    Example,
}

pub(super) fn configuration(command: &ConfigCommand, terminal: &mut Terminal<'_>) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check(settings) => check(settings, terminal),
        ConfigCommand::Print(settings) => print(settings, terminal),
        ConfigCommand::Docs => terminal.print(&reference::markdown()),
        ConfigCommand::Example => terminal.print(&reference::example()),
    }
}

fn check(settings: &Settings, terminal: &mut Terminal<'_>) -> Result<ExitCode, Failure> {
    let config = settings.config(terminal)?;
    config.servable()?;
    let mut answer = format!("the configuration is sound; mode {}\n", config.mode.as_str());
    if config.mode == Mode::Kubernetes {
        let least = config.drain.least_termination_grace().as_secs();
        answer.push_str(&format!("terminationGracePeriodSeconds of the pod: at least {least}\n"));
    }
    terminal.print(&answer)
}

fn print(settings: &Settings, terminal: &mut Terminal<'_>) -> Result<ExitCode, Failure> {
    let loaded = settings.loaded(terminal.strings)?;
    terminal.warn(&loaded.warnings);
    terminal.print(&reference::print(&loaded.layers))?;
    // The values help to find the mistake, so they are shown first.
    loaded.config.map(|_| ExitCode::SUCCESS).map_err(|error: ConfigError| error.into())
}
