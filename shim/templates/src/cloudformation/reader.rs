//! State of reading one template: properties with their findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::TemplateFiles;
use super::dependencies::circular_dependencies;
use super::resolver::Resolver;
use super::template::{Resource, Template};
use crate::context::ApplicationContext;
use crate::document::DocumentNode;
use crate::error::Problem;
use crate::model::{Application, Finding, Severity, SourceLocation};

/// Reads one template.
pub(super) struct TemplateReader<'a> {
    pub path: PathBuf,
    pub template: &'a Template<'a>,
    pub resolver: Resolver<'a>,
    pub files: TemplateFiles,
    /// Logical ids of functions by physical name.
    pub function_names: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl<'a> TemplateReader<'a> {
    pub(super) fn new(
        path: &Path,
        template: &'a Template<'a>,
        context: &'a ApplicationContext,
        stack_name: String,
        files: TemplateFiles,
    ) -> Self {
        let resolver = Resolver::new(template, context, stack_name);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, template, resolver, files, function_names: BTreeMap::new(), findings: Vec::new() }
    }

    pub(super) fn application(mut self) -> Application {
        self.findings.extend(circular_dependencies(self.template));
        let functions = self.read_functions();
        let websocket_api = self.read_websocket_api();
        let http_apis = self.read_http_apis();
        let tables = self.read_tables();
        self.report_other_kinds();
        Application {
            name: self.resolver.stack_name.clone(),
            template: self.path,
            websocket_api,
            http_apis,
            functions,
            tables,
            findings: distinct(self.findings),
        }
    }

    pub(super) fn report(&mut self, severity: Severity, location: SourceLocation, message: impl Into<String>) {
        self.findings.push(Finding { severity, location, message: message.into() });
    }

    /// Reports an evaluation error at the line of the value.
    pub(super) fn report_problem(&mut self, mut location: SourceLocation, problem: &Problem) {
        if problem.position.line > 0 {
            location.line = problem.position.line;
        }
        self.report(Severity::Error, location, problem.text());
    }

    /// Returns the active resources of the types, in the order of the template.
    pub(super) fn active(&mut self, kinds: &[&str]) -> Vec<Resource<'a>> {
        let mut found = self.template.of_kind(kinds);
        found.retain(|resource| match self.resolver.is_active(resource) {
            Ok(active) => active,
            Err(problem) => {
                self.report_problem(resource.location(), &problem);
                false
            }
        });
        found
    }

    /// Evaluates a property; an error becomes a finding.
    pub(super) fn property(&mut self, resource: &Resource<'a>, name: &str) -> Option<DocumentNode> {
        let node = resource.property(name)?;
        self.evaluate(node, resource.property_location(name))
    }

    /// Evaluates a node; an error becomes a finding.
    pub(super) fn evaluate(&mut self, node: &DocumentNode, location: SourceLocation) -> Option<DocumentNode> {
        match self.resolver.resolve(node) {
            Ok(value) => value.filter(|value| !value.is_null()),
            Err(problem) => {
                self.report_problem(location, &problem);
                None
            }
        }
    }

    /// Evaluates a property to a text.
    pub(super) fn text(&mut self, resource: &Resource<'a>, name: &str) -> Option<String> {
        let value = self.property(resource, name)?;
        self.convert(&value, "a text", resource.property_location(name), DocumentNode::scalar)
    }

    /// Evaluates a property to a boolean; `false` without it.
    pub(super) fn flag(&mut self, resource: &Resource<'a>, name: &str) -> bool {
        let Some(value) = self.property(resource, name) else { return false };
        let location = resource.property_location(name);
        self.convert(&value, "true or false", location, DocumentNode::boolean).unwrap_or_default()
    }

    /// Evaluates a property to a table of texts.
    pub(super) fn texts(&mut self, resource: &Resource<'a>, name: &str) -> BTreeMap<String, String> {
        let Some(value) = self.property(resource, name) else { return BTreeMap::new() };
        self.table_of_texts(&value, resource.property_location(name))
    }

    /// Converts an evaluated table of texts.
    pub(super) fn table_of_texts(
        &mut self,
        value: &DocumentNode,
        location: SourceLocation,
    ) -> BTreeMap<String, String> {
        let texts = self.convert(value, "a table of texts", location, |value| {
            value.is_table().then(|| value.entries())?.iter().map(|e| Some((e.key.clone(), e.node.scalar()?))).collect()
        });
        texts.unwrap_or_default()
    }

    /// Evaluates a property to a list of texts; a text is a list with one item.
    pub(super) fn list(&mut self, resource: &Resource<'a>, name: &str) -> Vec<String> {
        let Some(value) = self.property(resource, name) else { return Vec::new() };
        text_list(&value).unwrap_or_else(|| {
            let message = format!("{name} is {}, but must be a list of texts", value.kind());
            self.report(Severity::Error, resource.property_location(name), message);
            Vec::new()
        })
    }

    /// Converts an evaluated value; a wrong type becomes a finding.
    pub(super) fn convert<T>(
        &mut self,
        value: &DocumentNode,
        expected: &str,
        mut location: SourceLocation,
        conversion: impl FnOnce(&DocumentNode) -> Option<T>,
    ) -> Option<T> {
        let converted = conversion(value);
        if converted.is_none() {
            let found = value.scalar().map_or_else(|| value.kind().to_owned(), |text| format!("\"{text}\""));
            let name = location.element.rsplit('.').next().unwrap_or_default().to_owned();
            if value.position.line > 0 {
                location.line = value.position.line;
            }
            self.report(Severity::Error, location, format!("{name} is {found}, but must be {expected}"));
        }
        converted
    }
}

/// Converts a text or a list of texts.
pub(super) fn text_list(value: &DocumentNode) -> Option<Vec<String>> {
    match value.scalar() {
        Some(text) => Some(vec![text]),
        None => match &value.value {
            crate::document::NodeValue::List(items) => items.iter().map(DocumentNode::scalar).collect(),
            _ => None,
        },
    }
}

/// Removes repeated findings and sorts the others by line.
fn distinct(findings: Vec<Finding>) -> Vec<Finding> {
    let mut known = BTreeSet::new();
    let mut findings: Vec<Finding> =
        findings.into_iter().filter(|f| known.insert((f.location.line, f.message.clone()))).collect();
    findings.sort_by_key(|finding| finding.location.line);
    findings
}
