//! `serverless.yml` of the Serverless Framework.
//!
//! The reader generates the CloudFormation template that the framework deploys: functions, WebSocket API, HTTP APIs and
//! the section `resources`, with the framework's logical ids, such as `WebsocketsApi` and `SendLambdaFunction`. The
//! template has the positions of `serverless.yml`, so that findings name its lines.

mod events;
mod functions;
mod names;
mod variables;
mod websocket;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::names::rename_functions;
use self::variables::VariableResolver;
use crate::cloudformation::{TemplateFiles, parse_template, read_document};
use crate::context::ApplicationContext;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::error::{Problem, TemplateError};
use crate::model::Application;

/// Reads a file `serverless.yml`. `path` is the file's path, for messages and relative paths.
///
/// # Errors
///
/// Syntax errors, and documents without service or functions. Other errors of the file are findings.
pub fn read_serverless(path: &Path, text: &str, context: &ApplicationContext) -> Result<Application, TemplateError> {
    let document = parse_template(path, text)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let mut variables = VariableResolver::new(&document, &root, context);
    let mut generator = TemplateGenerator::new(&mut variables, &document, root.clone());
    generator.check_provider().map_err(|problem| problem.in_file(path))?;
    let template = generator.template();
    let (stage, stack, functions) = generator.finish();
    let context = generated_context(context, stage, stack);
    let files = TemplateFiles { root, assets: BTreeMap::new(), is_built: false, build_command: "serverless package" };
    let mut application = read_document(path, &template, &context, files)?;
    rename_functions(&mut application, &functions);
    Ok(application)
}

fn generated_context(given: &ApplicationContext, stage: String, stack: String) -> ApplicationContext {
    let stack_name = given.stack_name.clone().or(Some(stack));
    ApplicationContext { stage: Some(stage), stack_name, ..given.clone() }
}

/// Generates the template of a service.
struct TemplateGenerator<'g, 'a> {
    variables: &'g mut VariableResolver<'a>,
    document: &'g DocumentNode,
    root: PathBuf,
    /// Name of the service.
    service: String,
    stage: String,
    /// `provider`, without variables.
    provider: DocumentNode,
    resources: Vec<TableEntry>,
    /// Names in `functions` by logical id.
    functions: BTreeMap<String, String>,
}

impl<'g, 'a> TemplateGenerator<'g, 'a> {
    fn new(variables: &'g mut VariableResolver<'a>, document: &'g DocumentNode, root: PathBuf) -> Self {
        let empty = DocumentNode::new(NodeValue::Table(Vec::new()), document.position);
        let provider = document.get("provider").map_or(empty, |node| variables.resolve(node));
        let service = document.get("service").map(|node| variables.resolve(node));
        let service = service.and_then(|node| node.get("name").unwrap_or(&node).scalar());
        let stage = variables.stage();
        Self {
            variables,
            document,
            root,
            service: service.unwrap_or_else(|| "service".to_owned()),
            stage,
            provider,
            resources: Vec::new(),
            functions: BTreeMap::new(),
        }
    }

    /// Only services of AWS have functions that can be run.
    fn check_provider(&self) -> Result<(), Problem> {
        let name = self.provider.get("name").or(Some(&self.provider)).and_then(DocumentNode::scalar);
        match name.as_deref() {
            Some("aws") => {}
            Some(other) => {
                let message = format!("the provider is {other}, but only functions of AWS are read");
                return Err(Problem::new(self.provider.position, message, "write provider: name: aws"));
            }
            None => {
                let fix = "write provider: name: aws";
                return Err(Problem::new(self.document.position, "the file has no provider", fix));
            }
        }
        if self.document.get("functions").is_none() {
            let fix = "add functions with websocket events";
            return Err(Problem::new(self.document.position, "the file has no functions", fix));
        }
        Ok(())
    }

    /// Returns the complete template.
    fn template(&mut self) -> DocumentNode {
        self.add_layers();
        self.add_functions();
        let mut template =
            vec![entry("Resources", DocumentNode::new(NodeValue::Table(Vec::new()), Position::default()))];
        if let Some(section) = self.document.get("resources") {
            let section = self.variables.resolve(section);
            let parts = if section.is_table() { std::slice::from_ref(&section) } else { section.items() };
            for part in parts {
                self.resources = merged(std::mem::take(&mut self.resources), part.get("Resources"));
                for name in ["Conditions", "Mappings", "Parameters"] {
                    template.extend(part.get(name).map(|node| entry(name, node.clone())));
                }
            }
        }
        template[0].node.value = NodeValue::Table(std::mem::take(&mut self.resources));
        DocumentNode::new(NodeValue::Table(template), self.document.position)
    }

    /// Returns stage, stack name and functions.
    fn finish(self) -> (String, String, BTreeMap<String, String>) {
        let stack = self.provider.get("stackName").and_then(DocumentNode::scalar);
        let stack = stack.unwrap_or_else(|| format!("{}-{}", self.service, self.stage));
        (self.stage, stack, self.functions)
    }

    /// Adds a resource to the template.
    fn add(&mut self, logical_id: String, kind: &str, properties: Vec<TableEntry>, at: Position) {
        let properties = DocumentNode::new(NodeValue::Table(properties), at);
        let resource = vec![entry("Type", DocumentNode::text(kind, at)), entry("Properties", properties)];
        let node = DocumentNode::new(NodeValue::Table(resource), at);
        self.resources.push(TableEntry { key: logical_id, key_position: at, node });
    }
}

/// An entry at the position of its value.
fn entry(key: &str, node: DocumentNode) -> TableEntry {
    TableEntry { key: key.to_owned(), key_position: node.position, node }
}

/// `{Ref: name}`
fn reference(name: &str, at: Position) -> DocumentNode {
    DocumentNode::single("Ref", DocumentNode::text(name, at))
}

/// `{Fn::GetAtt: [name, Arn]}`
fn arn_of(name: &str, at: Position) -> DocumentNode {
    let parts = vec![DocumentNode::text(name, at), DocumentNode::text("Arn", at)];
    DocumentNode::single("Fn::GetAtt", DocumentNode::new(NodeValue::List(parts), at))
}

/// Merges the resources of the file into those of the framework, which they may extend or replace.
fn merged(mut resources: Vec<TableEntry>, added: Option<&DocumentNode>) -> Vec<TableEntry> {
    for entry in added.map_or(&[][..], DocumentNode::entries) {
        match resources.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => merge_into(&mut known.node, &entry.node),
            None => resources.push(entry.clone()),
        }
    }
    resources
}

fn merge_into(target: &mut DocumentNode, source: &DocumentNode) {
    let (NodeValue::Table(known), true) = (&mut target.value, source.is_table()) else {
        *target = source.clone();
        return;
    };
    for entry in source.entries() {
        match known.iter_mut().find(|existing| existing.key == entry.key) {
            Some(existing) => merge_into(&mut existing.node, &entry.node),
            None => known.push(entry.clone()),
        }
    }
}
