//! SAM and CloudFormation templates, in YAML and JSON.
//!
//! Values are evaluated when they are read, so that an unresolved value matters only where the application needs it.
//! Functions are found by ARN and name: all forms of `Ref`, `Fn::GetAtt`, `Fn::Sub` and `Fn::Join` lead to the same text.

mod authorizers;
mod code;
mod dependencies;
mod domains;
mod environment;
mod functions;
mod http_apis;
mod http_events;
mod integrations;
mod kinds;
mod layers;
mod models;
mod reader;
mod resolver;
mod routes;
mod sam_websocket;
mod stages;
mod tables;
mod targets;
mod template;
#[cfg(test)]
mod tests;
mod websocket;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::reader::TemplateReader;
use self::template::Template;
use crate::context::ApplicationContext;
use crate::document::DocumentNode;
use crate::document::json::parse_json;
use crate::document::yaml::parse_yaml;
use crate::error::TemplateError;
use crate::model::Application;

/// Files that belong to a template.
#[derive(Debug, Clone, Default)]
pub(crate) struct TemplateFiles {
    /// Directory of relative paths.
    pub root: PathBuf,
    /// Files and directories of assets by S3 key, from the asset manifest of the CDK.
    pub assets: BTreeMap<String, PathBuf>,
    /// Whether a build tool has produced the code: `sam build` or `cdk synth`.
    pub is_built: bool,
    /// Command that produces missing code.
    pub build_command: &'static str,
}

/// Reads a SAM or CloudFormation template, in YAML or JSON. `path` is the file's path, for messages and relative paths.
///
/// ```
/// use std::path::Path;
/// use templates::{ApplicationContext, read_cloudformation};
///
/// let text = "
/// Resources:
///   Chat:
///     Type: AWS::Serverless::WebSocketApi
///     Properties:
///       RouteSelectionExpression: $request.body.action
///       Routes:
///         $default: { FunctionArn: !GetAtt Echo.Arn }
///   Echo:
///     Type: AWS::Serverless::Function
///     Properties: { Runtime: nodejs22.x, Handler: index.handler, InlineCode: 'exports.handler = async () => ({})' }
/// ";
/// let context = ApplicationContext { stack_name: Some("chat".into()), ..ApplicationContext::default() };
/// let application = read_cloudformation(Path::new("/app/template.yaml"), text, &context)?;
/// assert_eq!(application.functions["Echo"].name, "chat-Echo");
/// # Ok::<(), templates::TemplateError>(())
/// ```
///
/// # Errors
///
/// Syntax errors, and documents that are not templates. Other errors of the template are findings.
pub fn read_cloudformation(
    path: &Path,
    text: &str,
    context: &ApplicationContext,
) -> Result<Application, TemplateError> {
    let document = parse_template(path, text)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let is_built = root.ends_with(".aws-sam/build");
    let files = TemplateFiles { root, assets: BTreeMap::new(), is_built, build_command: "sam build" };
    read_document(path, &document, context, files)
}

/// Reads a parsed template.
pub(crate) fn read_document(
    path: &Path,
    document: &DocumentNode,
    context: &ApplicationContext,
    files: TemplateFiles,
) -> Result<Application, TemplateError> {
    let template = Template::new(document).map_err(|problem| problem.in_file(path))?;
    let stack_name = context.stack_name.clone().unwrap_or_else(|| directory_name(&files.root));
    Ok(TemplateReader::new(path, &template, context, stack_name, files).application())
}

/// Parses JSON or YAML, whichever the text is.
pub(crate) fn parse_template(path: &Path, text: &str) -> Result<DocumentNode, TemplateError> {
    if text.trim_start().starts_with('{') { parse_json(path, text) } else { parse_yaml(path, text) }
}

/// Returns the name of a directory as a stack name; of the directory above for the output of a build tool.
fn directory_name(directory: &Path) -> String {
    let is_output = |path: &Path| path.file_name().is_some_and(|name| name == "build" || name == "cdk.out");
    let mut project = directory;
    while is_output(project) || project.ends_with(".aws-sam") {
        project = project.parent().unwrap_or(Path::new("/"));
    }
    let name = project.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let valid: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if valid.is_empty() { "application".to_owned() } else { valid }
}
