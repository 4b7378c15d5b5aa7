//! `twinway routes`: the routes of a template with their functions.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::CommandIo;
use super::application::{RouteRow, TemplateArgs, render_table, route_rows};
use super::exit::CommandError;

#[derive(Debug, Args)]
pub(super) struct RoutesArgs {
    #[command(flatten)]
    template: TemplateArgs,
    /// Print JSON: the complete application as Twinway reads it, without the values of environment variables
    #[arg(long)]
    json: bool,
}

pub(super) fn print_routes(arguments: &RoutesArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let application = arguments.template.read_application(terminal)?;
    if arguments.json {
        let rows: Vec<_> = route_rows(&application).iter().map(row_json).collect();
        let document = json!({"application": application, "routes": rows});
        let text =
            serde_json::to_string_pretty(&document).map_err(|error| CommandError::internal_error(error.into()))?;
        return terminal.print_result(&format!("{text}\n"));
    }
    terminal.print_result(&render_table(&route_rows(&application)))
}

fn row_json(row: &RouteRow) -> serde_json::Value {
    json!({"route": row.route, "target": row.target, "runtime": row.runtime, "notes": row.notes})
}
