//! `twinway config`: validates the configuration and prints its values with their sources.

use std::process::ExitCode;

use clap::Subcommand;

use super::exit::CommandError;
use super::{CommandIo, ConfigArgs};
use crate::config::{ConfigError, DeploymentMode, reference};

const CHECK_EXAMPLES: &str = "\
Examples:
  twinway config check
  twinway config check --config /etc/twinway/twinway.toml";

/// Subcommands of `twinway config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report all errors and warnings at once; exit code 64 if there are errors
    #[command(after_help = CHECK_EXAMPLES)]
    Check(ConfigArgs),
    /// Show every setting with its value and source; secrets are hidden
    Print(ConfigArgs),
    /// Print docs/CONFIGURATION.md
    #[command(hide = true)]
    Docs,
    /// Print twinway.toml.example
    #[command(hide = true)]
    Example,
}

pub(super) fn run_config_command(
    command: &ConfigCommand,
    terminal: &mut CommandIo<'_>,
) -> Result<ExitCode, CommandError> {
    match command {
        ConfigCommand::Check(settings) => check_config(settings, terminal),
        ConfigCommand::Print(settings) => print_config(settings, terminal),
        ConfigCommand::Docs => terminal.print_result(&reference::render_markdown()),
        ConfigCommand::Example => terminal.print_result(&reference::render_example()),
    }
}

fn check_config(settings: &ConfigArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let mut config = settings.load_valid_config(terminal)?;
    config.check_servable()?;
    terminal.print_warnings(&config.load_application()?);
    let mut report = format!("the configuration is valid; mode {}\n", config.mode.as_str());
    if config.mode == DeploymentMode::Kubernetes {
        let minimum = config.drain.min_termination_grace().as_secs();
        report.push_str(&format!("minimum terminationGracePeriodSeconds of the pod: {minimum}\n"));
    }
    if let Some(hosts) = config.api_hosts() {
        let names: Vec<&str> = hosts.names().collect();
        let stage = &config.api.stage;
        report.push_str(&format!("functions reach this server as https://HOST/{stage}; HOST: {}\n", names.join(", ")));
    }
    if let Some(notice) = config.origin_notice() {
        report.push_str(&format!("{notice}\n"));
    }
    terminal.print_result(&report)
}

fn print_config(settings: &ConfigArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let loaded = settings.load_config(terminal.variables)?;
    terminal.print_warnings(&loaded.warnings);
    terminal.print_result(&reference::render_values(&loaded.sources))?;
    // The values help to find the errors, so they are printed first.
    loaded.config.map(|_| ExitCode::SUCCESS).map_err(|error: ConfigError| error.into())
}
