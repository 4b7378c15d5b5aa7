//! Command line interface of `twinway`.
//!
//! Results go to standard output, all other text to standard error; the exit code identifies the kind of failure
//! ([`exit`]). Only `serve` starts a server.

mod application;
mod completions;
mod configuration;
mod dev;
mod doctor;
pub mod exit;
mod healthcheck;
mod migrate;
mod overrides;
mod routes;
mod serve;
pub mod startup_banner;
mod token;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::exit::CommandError;
use self::overrides::FlagOverrides;
use crate::config::{Config, ConfigFile, LoadedConfig, VariableSource, load_config};
use crate::exit_code;

/// Internal command: the arguments after it are the command line of a function to be supervised
/// ([`runtime_api::run_supervisor`]). It is handled before the command line is parsed, because it needs no flags.
pub const SUPERVISE_COMMAND: &str = "supervise-function";

const ABOUT: &str = "\
Serves WebSocket applications that are written for Amazon API Gateway.

The same handlers run on AWS Lambda behind API Gateway; here this process is the gateway.";

const EXAMPLES: &str = "\
Examples:
  twinway serve                             serve on 127.0.0.1:8080 and store messages in ./twinway-data
  twinway serve --listen 0.0.0.0:9000       accept remote clients, on another port
  twinway dev                               serve the application whose template is in this directory
  twinway token --user alice                print a token for a client
  twinway config print                      show every setting and its source

Every setting is also an environment variable and a key of twinway.toml.
Exit codes: 0 success, 1 unhealthy, 64 usage or configuration error, 69 a required resource is unavailable,
70 internal error, 75 drain incomplete.";

/// Arguments of the `twinway` executable.
#[derive(Debug, Parser)]
#[command(name = "twinway", version, about = "WebSocket server for Amazon API Gateway applications")]
#[command(long_about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 110)]
pub struct CommandLine {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Serve WebSockets, the HTTP API and the ops port until SIGTERM or Ctrl-C
    #[command(after_help = serve::EXAMPLES)]
    Serve(ConfigArgs),
    /// Serve the application of a template on this machine, for development
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
    /// Print the routes and functions of a template
    Routes(routes::RoutesArgs),
    /// Print what a template uses that Twinway does not support; exit code 64 if it cannot be served
    Doctor(application::TemplateArgs),
    /// Print a token, signed with the secret that the server uses
    #[command(after_help = token::EXAMPLES)]
    Token(token::TokenArgs),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Check that a running server is healthy; exit code 0 or 1
    #[command(after_help = healthcheck::EXAMPLES)]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Log in to a running server, send a message and resume it; exit code 0 or 1
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Copy channels and their history between DynamoDB, Redis, PostgreSQL and the embedded log
    Migrate(migrate::MigrateArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
}

/// Arguments of every command that reads the configuration.
#[derive(Debug, Clone, Default, Args)]
struct ConfigArgs {
    /// Configuration file [env: TWINWAY_CONFIG] [default: twinway.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: FlagOverrides,
}

/// Environment and output streams of a command.
pub struct CommandIo<'a> {
    /// Environment variables of the process, or a map in tests.
    pub variables: &'a dyn VariableSource,
    /// Stream for results.
    pub stdout: &'a mut dyn Write,
    /// Stream for errors and warnings.
    pub stderr: &'a mut dyn Write,
}

/// Runs one command line and returns the exit code.
pub fn run_command_line(arguments: impl IntoIterator<Item = OsString>, mut terminal: CommandIo<'_>) -> ExitCode {
    let result = match CommandLine::try_parse_from(arguments) {
        Ok(cli) => execute_command(cli.command, &mut terminal),
        Err(error) => return print_clap_error(&error, &mut terminal),
    };
    result.unwrap_or_else(|error| {
        // A closed standard error leaves no stream to report to.
        let _ = writeln!(terminal.stderr, "twinway: {error}");
        error.exit_code()
    })
}

/// Prints help to standard output with exit code 0, or an error to standard error with exit code 64.
fn print_clap_error(error: &clap::Error, terminal: &mut CommandIo<'_>) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(terminal.stderr, "{text}");
        ExitCode::from(exit_code::EXIT_USAGE)
    } else {
        let _ = write!(terminal.stdout, "{text}");
        ExitCode::SUCCESS
    }
}

fn execute_command(command: CliCommand, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    match command {
        CliCommand::Serve(settings) => serve::run_serve(&settings, terminal),
        CliCommand::Dev(arguments) => dev::run_dev(&arguments, terminal),
        CliCommand::Routes(arguments) => routes::print_routes(&arguments, terminal),
        CliCommand::Doctor(arguments) => doctor::print_findings(&arguments, terminal),
        CliCommand::Token(arguments) => token::print_token(&arguments, terminal),
        CliCommand::Config(command) => configuration::run_config_command(&command, terminal),
        CliCommand::Healthcheck(arguments) => healthcheck::run_healthcheck(&arguments, terminal),
        CliCommand::Verify(arguments) => verify::run_verify(&arguments, terminal),
        CliCommand::Migrate(arguments) => migrate::run_migrate(&arguments),
        CliCommand::Version => terminal.print_result(&format!("twinway {}\n", env!("CARGO_PKG_VERSION"))),
        CliCommand::Completions(arguments) => {
            completions::print_completions(&arguments, &mut CommandLine::command(), terminal)
        }
    }
}

impl CommandIo<'_> {
    /// Prints the result of a command. A closed pipe, as after `| head`, is not an error.
    fn print_result(&mut self, text: &str) -> Result<ExitCode, CommandError> {
        match self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CommandError::internal_error(error.into()))
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn print_warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            let _ = writeln!(self.stderr, "warning: {warning}");
        }
    }
}

impl ConfigArgs {
    /// Returns whether a flag sets the key.
    fn has_flag(&self, path: &str) -> bool {
        self.overrides.has_flag(path)
    }

    /// Returns the arguments with another value of a key, unless a flag sets it.
    fn with_default(&self, path: &'static str, value: &str) -> Self {
        Self { config: self.config.clone(), overrides: self.overrides.with_default(path, value) }
    }

    /// Loads the configuration, valid or not.
    fn load_config(&self, variables: &dyn VariableSource) -> Result<LoadedConfig, CommandError> {
        let file = ConfigFile::find(self.config.as_deref(), variables)?;
        Ok(load_config(variables, self.overrides.flag_values(), file.as_ref()))
    }

    /// Loads the configuration, prints its warnings, and fails if it is invalid.
    fn load_valid_config(&self, terminal: &mut CommandIo<'_>) -> Result<Config, CommandError> {
        let loaded = self.load_config(terminal.variables)?;
        terminal.print_warnings(&loaded.warnings);
        Ok(loaded.config?)
    }
}

#[cfg(test)]
mod tests;
