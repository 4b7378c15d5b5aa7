//! Terraform and OpenTofu: a plan or a state as JSON, from `terraform show -json`.
//!
//! The reader converts the resources to CloudFormation, with their addresses as logical ids. Attributes that are known
//! only after `terraform apply` are taken from the references of the configuration.

mod conversion;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use self::conversion::convert_resources;
use self::plan::TerraformPlan;
use crate::cloudformation::{TemplateFiles, read_document};
use crate::context::ApplicationContext;
use crate::document::{DocumentNode, NodeValue, Position};
use crate::error::TemplateError;
use crate::model::Application;

/// Reads a plan or a state as JSON. Paths of archives start at the directory of the file.
///
/// # Errors
///
/// Syntax errors, and documents that are neither plan nor state. Other errors are findings, without lines.
pub fn read_terraform(path: &Path, text: &str, context: &ApplicationContext) -> Result<Application, TemplateError> {
    let json = serde_json::from_str(text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        TemplateError::new(path, position, format!("syntax error: {error}")).with_fix(SHOW_COMMAND)
    })?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let Some(plan) = TerraformPlan::new(&json) else {
        let message = "the file is neither a plan nor a state";
        return Err(TemplateError::new(path, Position::default(), message).with_fix(SHOW_COMMAND));
    };
    let (resources, findings) = convert_resources(&plan, &root);
    let resources = DocumentNode::new(NodeValue::Table(resources), Position::default());
    let template = DocumentNode::single("Resources", resources);
    let files = TemplateFiles { root, assets: BTreeMap::new(), is_built: true, build_command: "terraform plan" };
    let mut application = read_document(path, &template, context, files)?;
    application.findings.extend(findings);
    shorten_locations(&mut application);
    Ok(application)
}

/// Command that writes the file.
const SHOW_COMMAND: &str =
    "run terraform plan -out=tfplan && terraform show -json tfplan > plan.json, and give plan.json";

/// Returns the error for a directory with `.tf` files, which contain expressions that only Terraform evaluates.
pub(crate) fn unread_configuration(path: &Path) -> TemplateError {
    let message = "Terraform configurations are read as a plan";
    TemplateError::new(path, Position::default(), message).with_fix(SHOW_COMMAND)
}

/// Elements are addresses, such as `aws_lambda_function.send`.
fn shorten_locations(application: &mut Application) {
    let api = application.websocket_api.iter_mut();
    let locations =
        api.flat_map(|api| std::iter::once(&mut api.location).chain(api.routes.iter_mut().map(|r| &mut r.location)));
    let functions = application.functions.values_mut().map(|function| &mut function.location);
    let tables = application.tables.values_mut().map(|table| &mut table.location);
    let findings = application.findings.iter_mut().map(|finding| &mut finding.location);
    for location in locations.chain(functions).chain(tables).chain(findings) {
        if let Some(address) = location.element.strip_prefix("Resources.") {
            location.element = address.split(".Properties").next().unwrap_or_default().to_owned();
        }
        location.line = 0;
    }
}
