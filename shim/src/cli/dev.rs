//! `twinway dev`: serves the application of a template on this machine.
//!
//! It differs from `serve` in its defaults: embedded mode, port 3001, a table of the routes, and one log line per
//! invocation.

mod local_tables;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use templates::Application;

use self::local_tables::{LocalDynamoDb, TableReport};
use super::application::{TemplateArgs, render_table, route_rows};
use super::exit::CommandError;
use super::serve::serve_config;
use super::startup_banner::client_address;
use super::{CommandIo, ConfigArgs};
use crate::config::{Config, LoadedConfig, LogFormat};
use crate::functions::INVOCATION_TARGET;
use crate::serve::ReadyServer;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway dev                               serve the template in this directory on port 3001
  twinway dev app/twinway.routes.toml --port 4000
  twinway dev --watch                       use changed code without a restart
  twinway dev --env-vars env.json           set environment variables, in the format of `sam local`";

/// Default port. The port of unsigned `@connections` calls is the next one.
const DEV_PORT: u16 = 3001;

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    #[command(flatten)]
    template: TemplateArgs,
    /// JSON file with environment variables: an object per function, and `Parameters` for all functions
    #[arg(long, value_name = "FILE")]
    env_vars: Option<PathBuf>,
    /// Replace the processes of a function when a file of its code changes; sockets stay open
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    settings: ConfigArgs,
}

pub(super) fn run_dev(arguments: &DevArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let loaded = load_dev_config(arguments, terminal)?;
    let (mut config, mut warnings) = (loaded.config?, loaded.warnings);
    let path = config.functions.template.clone().unwrap_or_default();
    let mut application = crate::config::read_application(&path, &config)?;
    if let Some(file) = &arguments.env_vars {
        apply_env_vars(&mut application, file)?;
    }
    let table = render_table(&route_rows(&application));
    config.functions.watches_code = arguments.watch;
    warnings.extend(config.set_application(application)?);
    config.check_servable()?;
    let tables = create_tables(&config)?;
    warnings.extend(tables.warnings);
    let created = tables.created;
    serve_config(config, &warnings, terminal, move |config, ready, _| {
        render_dev_banner(config, &ready, &table, &created)
    })
}

/// Creates the missing tables of the application, if its functions use an emulator of DynamoDB on this machine.
fn create_tables(config: &Config) -> Result<TableReport, CommandError> {
    let functions = &config.functions;
    let mut variables = functions.inherited_environment.0.clone();
    variables.extend(functions.environment.0.clone());
    let emulator = LocalDynamoDb::of_functions(&variables, &config.api.region);
    let (Some(emulator), Some(application)) = (emulator, &config.application) else {
        return Ok(TableReport::default());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::classify_error(error.into()))?;
    Ok(runtime.block_on(emulator.create_missing(application.tables.values())))
}

/// Loads the configuration with the defaults of `twinway dev`.
fn load_dev_config(arguments: &DevArgs, terminal: &mut CommandIo<'_>) -> Result<LoadedConfig, CommandError> {
    let settings = arguments.template.apply(&arguments.settings.with_default("mode", "embedded"), terminal)?;
    let mut loaded = settings.load_config(terminal.variables)?;
    let is_set = |path: &str| loaded.sources.is_set(path);
    let (listens, manages) = (is_set("server.listen"), is_set("server.management_listen"));
    let (observes, filters, formats) =
        (is_set("server.ops_listen"), is_set("logging.filter"), is_set("logging.format"));
    let has_port = is_set("server.port");
    if let Ok(config) = &mut loaded.config {
        let server = &mut config.server;
        if !listens && !has_port {
            server.listen.set_port(DEV_PORT);
        }
        if !manages {
            let port = server.listen.port().checked_add(1).filter(|_| server.listen.port() != 0);
            server.management_listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0))));
        }
        if !observes {
            server.ops_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        }
        if !filters {
            config.logging.filter = format!("info,{INVOCATION_TARGET}=debug");
        }
        if !formats {
            config.logging.format = LogFormat::Pretty;
        }
    }
    Ok(loaded)
}

/// Sets the variables of a file in the format of `sam local --env-vars`: an object per logical id or name of a function,
/// and `Parameters` for all functions.
fn apply_env_vars(application: &mut Application, file: &Path) -> Result<(), CommandError> {
    let invalid = |what: String| CommandError::usage_error(format!("--env-vars {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| invalid(format!("cannot be read: {error}")))?;
    let document: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&text).map_err(|error| {
        invalid(format!("{error}; expected an object such as {{\"MyFunction\": {{\"TABLE\": \"messages\"}}}}"))
    })?;
    for (target, variables) in &document {
        let is_target = |id: &str, name: &str| target == "Parameters" || target == id || target == name;
        let mut found = false;
        for (id, function) in &mut application.functions {
            if is_target(id, &function.name) {
                found = true;
                let texts = variables.iter().map(|(name, value)| (name.clone(), text_of(value)));
                function.environment.extend(texts);
            }
        }
        if !found {
            return Err(invalid(format!("the application has no function {target}")));
        }
    }
    Ok(())
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn render_dev_banner(config: &Config, ready: &ReadyServer<'_>, table: &str, created: &[String]) -> String {
    let host = client_address(ready.traffic);
    let Some(application) = &config.application else { return String::new() };
    let mut page = format!(
        "\nTwinway {} serves {} ({}).\n\n{table}\n",
        env!("CARGO_PKG_VERSION"),
        application.name,
        application.template.display()
    );
    if application.websocket_api.is_some() {
        page.push_str(&format!("  WebSocket     ws://{host}/{}\n", config.api.stage));
    }
    for api in &application.http_apis {
        let prefix = if api.stage == "$default" { "" } else { api.stage.as_str() };
        page.push_str(&format!("  HTTP          http://{host}/{prefix}\n"));
    }
    if let Some(management) = ready.management {
        page.push_str(&format!("  @connections  http://{management}/{}/@connections/ID\n", config.api.stage));
    }
    for name in created {
        page.push_str(&format!("  DynamoDB      created the table {name}\n"));
    }
    if application.websocket_api.is_some() {
        page.push_str(&format!(
            "\nConnect (or with npx wscat -c):\n\n  websocat \"ws://{host}/{}\"\n",
            config.api.stage
        ));
    }
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use templates::read_routes_file;

    fn application() -> Application {
        let text = "[routes]\n'$default' = 'echo'\n[functions.echo]\ncommand = ['true']\nname = 'my-echo'\n";
        read_routes_file(Path::new("/app/twinway.routes.toml"), text).unwrap()
    }

    fn with_variables(text: &str) -> Result<Application, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("env.json");
        std::fs::write(&file, text).unwrap();
        let mut application = application();
        apply_env_vars(&mut application, &file).map(|()| application).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_of_a_file_apply_to_one_or_all_functions() {
        let text = r#"{"Parameters": {"ALL": 1}, "echo": {"TABLE": "a"}, "my-echo": {"OWN": true}}"#;
        let environment = with_variables(text).unwrap().functions["echo"].environment.clone();
        let expected = [("ALL", "1"), ("OWN", "true"), ("TABLE", "a")];
        assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn an_unknown_function_and_another_form_are_errors() {
        assert!(with_variables(r#"{"other": {}}"#).unwrap_err().contains("no function other"));
        assert!(with_variables(r#"{"TABLE": "a"}"#).unwrap_err().contains("expected an object such as"));
    }
}
