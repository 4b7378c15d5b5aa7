//! The command line: what an operator types, and what the process answers.
//!
//! Invariant: results go to standard output, everything else to standard error, and the exit code says which kind of
//! failure it was ([`exit`]). Every command but `serve` works without starting a server.

mod completions;
mod configuration;
pub mod exit;
mod healthcheck;
mod migrate;
mod overrides;
mod serve;
mod token;
pub mod welcome;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::exit::Failure;
use self::overrides::Overrides;
use crate::config::{Config, Document, Loaded, Strings, load};
use crate::exit_code;

const ABOUT: &str = "\
Serves a WebSocket messaging application through API Gateway's events.

The same handlers run on AWS Lambda behind API Gateway; here this process is the gateway.";

const EXAMPLES: &str = "\
Examples:
  twinway serve                             serve on 127.0.0.1:8080 and keep messages in ./twinway-data
  twinway serve --listen 0.0.0.0:9000       serve everyone, on another port
  twinway token --user alice                print a token for a client
  twinway config print                      show every setting and where it came from

Every setting is also an environment variable and a key of twinway.toml.
Exit codes: 0 done, 1 unhealthy, 64 usage or configuration, 69 something needed is not available, 70 internal, 75 cut short.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "twinway", version, about = "WebSocket messaging through API Gateway's events", long_about = ABOUT)]
#[command(after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve WebSockets, the HTTP API and the ops port until SIGTERM or Ctrl-C
    #[command(after_help = serve::EXAMPLES)]
    Serve(Settings),
    /// Print a token, signed with the secret that the server uses
    #[command(after_help = token::EXAMPLES)]
    Token(token::TokenArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Ask a running server whether it is healthy; exit code 0 or 1
    #[command(after_help = healthcheck::EXAMPLES)]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Copy channels and their history between DynamoDB, Redis, PostgreSQL and the embedded log
    Migrate(migrate::MigrateArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
}

/// What every command that reads the configuration takes.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file [env: TWINWAY_CONFIG] [default: twinway.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Where a command reads and writes.
pub struct Terminal<'a> {
    /// The environment, or a map in tests.
    pub strings: &'a dyn Strings,
    /// For results.
    pub out: &'a mut dyn Write,
    /// For everything else.
    pub err: &'a mut dyn Write,
}

/// Runs one command line to its end and answers the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, mut terminal: Terminal<'_>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => execute(cli.command, &mut terminal),
        Err(error) => return explain(&error, &mut terminal),
    };
    outcome.unwrap_or_else(|failure| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(terminal.err, "twinway: {failure}");
        failure.code()
    })
}

/// Help goes to standard output with code 0, a mistake to standard error with code 64.
fn explain(error: &clap::Error, terminal: &mut Terminal<'_>) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(terminal.err, "{text}");
        ExitCode::from(exit_code::USAGE)
    } else {
        let _ = write!(terminal.out, "{text}");
        ExitCode::SUCCESS
    }
}

fn execute(command: Command, terminal: &mut Terminal<'_>) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(settings) => serve::serve(&settings, terminal),
        Command::Token(arguments) => token::token(&arguments, terminal),
        Command::Config(command) => configuration::configuration(&command, terminal),
        Command::Healthcheck(arguments) => healthcheck::healthcheck(&arguments, terminal),
        Command::Migrate(arguments) => migrate::migrate(&arguments),
        Command::Version => terminal.print(&format!("twinway {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Completions(arguments) => completions::completions(&arguments, &mut Cli::command(), terminal),
    }
}

impl Terminal<'_> {
    /// Prints a command's result. A reader that has gone, such as `head`, is no failure.
    fn print(&mut self, text: &str) -> Result<ExitCode, Failure> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::internal(error.into())),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            let _ = writeln!(self.err, "warning: {warning}");
        }
    }
}

impl Settings {
    /// The configuration as far as it could be read.
    fn loaded(&self, strings: &dyn Strings) -> Result<Loaded, Failure> {
        let document = Document::find(self.config.as_deref(), strings)?;
        Ok(load(strings, self.overrides.flags(), document.as_ref()))
    }

    /// The configuration, with its warnings told.
    fn config(&self, terminal: &mut Terminal<'_>) -> Result<Config, Failure> {
        let loaded = self.loaded(terminal.strings)?;
        terminal.warn(&loaded.warnings);
        Ok(loaded.config?)
    }
}

#[cfg(test)]
mod tests;
