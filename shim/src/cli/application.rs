//! Template of an application as an argument of commands, and tables of its routes.

use std::path::PathBuf;

use clap::Args;
use templates::{Application, Authorization, CodeLocation, FunctionResource, Integration};

use super::exit::CommandError;
use super::{CommandIo, ConfigArgs};
use crate::config::read_application;

/// Arguments of commands that read a template.
#[derive(Debug, Clone, Args)]
pub(super) struct TemplateArgs {
    /// Template, or a directory that contains one [default: the current directory]
    #[arg(id = "application", value_name = "TEMPLATE")]
    pub template: Option<PathBuf>,
    /// Parameters of the template
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    pub parameter_overrides: Vec<String>,
}

impl TemplateArgs {
    /// Adds the template and its parameters to the settings. Without a template, that of `api.template` or of the current
    /// directory is used.
    pub(super) fn apply(&self, settings: &ConfigArgs, terminal: &CommandIo<'_>) -> Result<ConfigArgs, CommandError> {
        let is_configured =
            settings.has_flag("api.template") || terminal.variables.read_variable("TWINWAY_TEMPLATE").is_some();
        let settings = match &self.template {
            Some(path) => settings.with_default("api.template", &path.display().to_string()),
            None if is_configured => settings.clone(),
            None => settings.with_default("api.template", "."),
        };
        if self.parameter_overrides.is_empty() {
            return Ok(settings);
        }
        if let Some(invalid) = self.parameter_overrides.iter().find(|pair| !pair.contains('=')) {
            return Err(CommandError::usage_error(format!("--parameter-overrides {invalid}: expected NAME=VALUE")));
        }
        // Lines, because values may contain commas.
        let lines: String = self.parameter_overrides.iter().map(|pair| format!("{pair}\n")).collect();
        Ok(settings.with_default("api.parameters", &lines))
    }

    /// Reads the template.
    pub(super) fn read_application(&self, terminal: &CommandIo<'_>) -> Result<Application, CommandError> {
        let settings = self.apply(&ConfigArgs::default().with_default("mode", "embedded"), terminal)?;
        // The warnings are about a server, which these commands do not start.
        let config = settings.load_config(terminal.variables)?.config?;
        let path = config.functions.template.clone().unwrap_or_default();
        Ok(read_application(&path, &config)?)
    }
}

/// A route of an application, for tables.
pub(super) struct RouteRow {
    /// Route key, or method and path.
    pub route: String,
    /// Function or other backend.
    pub target: String,
    /// Runtime or command of the function.
    pub runtime: String,
    /// Further properties: two-way, authorization, timeout.
    pub notes: String,
}

/// Returns a row per WebSocket route and HTTP route.
pub(super) fn route_rows(application: &Application) -> Vec<RouteRow> {
    let runtime = |function: &str| application.functions.get(function).map_or_else(String::new, runtime_name);
    let mut rows = Vec::new();
    for route in application.websocket_api.iter().flat_map(|api| &api.routes) {
        let (target, runtime) = match &route.integration {
            Integration::Lambda { function, .. } => (function.clone(), runtime(function)),
            Integration::HttpProxy { method, uri, .. } => (format!("{method} {uri}"), "HTTP_PROXY".to_owned()),
            Integration::Mock { .. } => (String::new(), "MOCK".to_owned()),
            _ => (String::new(), String::new()),
        };
        let authorization = match &route.authorization {
            Authorization::None => None,
            Authorization::Iam => Some("AWS_IAM".to_owned()),
            Authorization::Custom { function, .. } => Some(format!("authorizer {function}")),
        };
        let key = route.api_key_required.then(|| "API key".to_owned());
        let notes: Vec<_> =
            route.two_way.then(|| "two-way".to_owned()).into_iter().chain(authorization).chain(key).collect();
        rows.push(RouteRow { route: route.key.clone(), target, runtime, notes: notes.join(", ") });
    }
    for api in &application.http_apis {
        for route in &api.routes {
            let (target, runtime) = (route.function.clone(), runtime(&route.function));
            let name = if route.path == "$default" {
                "HTTP $default".to_owned()
            } else {
                format!("{} {}", route.method, route.path)
            };
            rows.push(RouteRow { route: name, target, runtime, notes: String::new() });
        }
    }
    rows
}

/// Returns the runtime of a function, or its command line.
fn runtime_name(function: &FunctionResource) -> String {
    match &function.code {
        CodeLocation::Command { line, .. } => line.join(" "),
        _ => format!("{} {}", function.runtime, function.handler),
    }
}

/// Renders rows as a table with two spaces in front of each line.
pub(super) fn render_table(rows: &[RouteRow]) -> String {
    let header =
        RouteRow { route: "ROUTE".into(), target: "FUNCTION".into(), runtime: "RUNTIME".into(), notes: String::new() };
    let rows: Vec<_> = std::iter::once(&header).chain(rows).collect();
    let width = |column: fn(&RouteRow) -> &str| rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0);
    let (route, target, runtime) = (width(|row| &row.route), width(|row| &row.target), width(|row| &row.runtime));
    let line = |row: &&RouteRow| {
        let RouteRow { route: a, target: b, runtime: c, notes } = row;
        format!("  {a:route$}  {b:target$}  {c:runtime$}  {notes}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns() {
        let row = |route: &str, target: &str| RouteRow {
            route: route.to_owned(),
            target: target.to_owned(),
            runtime: "python3 app.py".to_owned(),
            notes: String::new(),
        };
        let table = render_table(&[row("$connect", "presence"), row("GET /rooms/{id}", "api")]);
        let expected = "  ROUTE            FUNCTION  RUNTIME\n  $connect         presence  python3 app.py\n  \
                        GET /rooms/{id}  api       python3 app.py\n";
        assert_eq!(table, expected);
    }
}
