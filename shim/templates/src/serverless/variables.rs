//! Variables of `serverless.yml`: `${self:…}`, `${env:…}`, `${opt:…}`, `${sls:…}`, `${aws:…}`, `${param:…}`, `${file(…)}`.

mod expression;

use std::path::{Path, PathBuf};

use self::expression::{VariableExpression, VariableSource, innermost_variable};
use crate::context::ApplicationContext;
use crate::document::{DocumentNode, MAX_DEPTH, NodeValue, Position, TableEntry, UNRESOLVED};
use crate::error::Problem;

/// Limit of replacements in a file, against variables that multiply.
const MAX_REPLACEMENTS: usize = 100_000;

/// Replaces the variables of one file.
pub(super) struct VariableResolver<'a> {
    pub document: &'a DocumentNode,
    pub directory: PathBuf,
    pub context: &'a ApplicationContext,
    replacements: usize,
}

impl<'a> VariableResolver<'a> {
    pub(super) fn new(document: &'a DocumentNode, directory: &Path, context: &'a ApplicationContext) -> Self {
        Self { document, directory: directory.to_owned(), context, replacements: 0 }
    }

    /// Replaces the variables of a node with everything in it.
    pub(super) fn resolve(&mut self, node: &DocumentNode) -> DocumentNode {
        self.resolve_at(node, 0)
    }

    /// Returns the stage: given, or `provider.stage`, or `dev`.
    pub(super) fn stage(&mut self) -> String {
        self.stage_at(0)
    }

    fn stage_at(&mut self, depth: usize) -> String {
        let given = self.context.options.get("stage").or(self.context.stage.as_ref()).cloned();
        given.unwrap_or_else(|| {
            let node = self.document.get("provider").and_then(|provider| provider.get("stage")).cloned();
            // A stage that refers to itself has no value.
            let is_circular = |text: &str| text.contains("${sls:stage") || text.contains("${self:provider.stage");
            let node = node.filter(|node| !node.as_text().is_some_and(is_circular));
            node.and_then(|node| self.resolve_at(&node, depth + 1).scalar()).unwrap_or_else(|| "dev".to_owned())
        })
    }

    fn resolve_at(&mut self, node: &DocumentNode, depth: usize) -> DocumentNode {
        if depth > MAX_DEPTH || self.replacements > MAX_REPLACEMENTS {
            let problem = Problem::new(node.position, "the variables refer to each other in a circle", "");
            return unresolved(&problem);
        }
        let value = match &node.value {
            NodeValue::Text(text) if text.contains("${") => return self.resolve_text(text, node.position, depth),
            NodeValue::List(items) => {
                NodeValue::List(items.iter().map(|item| self.resolve_at(item, depth + 1)).collect())
            }
            NodeValue::Table(entries) => {
                NodeValue::Table(entries.iter().map(|entry| self.resolve_entry(entry, depth)).collect())
            }
            scalar => scalar.clone(),
        };
        DocumentNode::new(value, node.position)
    }

    fn resolve_entry(&mut self, entry: &TableEntry, depth: usize) -> TableEntry {
        let node = self.resolve_at(&entry.node, depth + 1);
        let key = match entry.key.contains("${") {
            true => self.resolve_text(&entry.key, entry.key_position, depth + 1).scalar(),
            false => None,
        };
        TableEntry { key: key.unwrap_or_else(|| entry.key.clone()), key_position: entry.key_position, node }
    }

    /// Replaces the variables of a text, the innermost first. A text that is one variable may become any value.
    fn resolve_text(&mut self, text: &str, at: Position, depth: usize) -> DocumentNode {
        let mut text = text.to_owned();
        while let Some((start, end, expression)) = innermost_variable(&text) {
            self.replacements += 1;
            if self.replacements > MAX_REPLACEMENTS {
                return unresolved(&Problem::new(at, "the file has too many variables", ""));
            }
            let value = match self.evaluate(&expression, at, depth + 1) {
                Ok(value) => value,
                Err(problem) => return unresolved(&problem),
            };
            if start == 0 && end == text.len() {
                return value;
            }
            if value.get(UNRESOLVED).is_some() {
                return value;
            }
            let Some(part) = value.scalar() else {
                let message = format!("the variable {} is {}, but is part of a text", expression.written, value.kind());
                return unresolved(&Problem::new(at, message, "use a variable that is a text"));
            };
            text.replace_range(start..end, &part);
        }
        DocumentNode::text(text, at)
    }

    /// Returns the first source that has a value; the last one may be a literal.
    fn evaluate(
        &mut self,
        expression: &VariableExpression,
        at: Position,
        depth: usize,
    ) -> Result<DocumentNode, Problem> {
        for source in &expression.sources {
            if let Some(value) = self.source(source, at, depth)? {
                return Ok(value);
            }
        }
        let message = format!("the variable {} has no value", expression.written);
        Err(Problem::new(at, message, remedy(&expression.sources)))
    }

    fn source(&mut self, source: &VariableSource, at: Position, depth: usize) -> Result<Option<DocumentNode>, Problem> {
        let text = |value: Option<String>| Ok(value.map(|value| DocumentNode::text(value, at)));
        match source {
            VariableSource::Literal(value) => Ok(Some(DocumentNode::new(value.clone(), at))),
            VariableSource::Own(path) => Ok(self.own_value(path, depth)),
            VariableSource::Environment(name) => text(self.context.environment.get(name).cloned()),
            VariableSource::Option(name) if name == "stage" => {
                text(self.context.options.get(name).or(self.context.stage.as_ref()).cloned())
            }
            VariableSource::Option(name) => text(self.context.options.get(name).cloned()),
            VariableSource::Framework(name) => match name.as_str() {
                "stage" => text(Some(self.stage_at(depth))),
                "instanceId" => text(Some("local".to_owned())),
                _ => Ok(None),
            },
            VariableSource::Account(name) => text(match name.as_str() {
                "accountId" => Some(self.context.account_id.clone()),
                "region" => Some(self.context.region.clone()),
                "partition" => Some(self.context.partition().to_owned()),
                _ => None,
            }),
            VariableSource::Parameter(name) => Ok(self.parameter(name, at, depth)),
            VariableSource::File { path, address } => self.file_value(path, address, at, depth),
            VariableSource::Remote => Ok(None),
        }
    }

    fn own_value(&mut self, path: &str, depth: usize) -> Option<DocumentNode> {
        let node = value_at(self.document, path)?.clone();
        Some(self.resolve_at(&node, depth + 1)).filter(|node| !node.is_null())
    }

    /// Parameters are given, or are in `stages` or `params` of the file, by stage.
    fn parameter(&mut self, name: &str, at: Position, depth: usize) -> Option<DocumentNode> {
        if let Some(value) = self.context.parameters.get(name) {
            return Some(DocumentNode::text(value.clone(), at));
        }
        let stage = self.stage_at(depth);
        let paths = [
            format!("stages.{stage}.params.{name}"),
            format!("params.{stage}.{name}"),
            format!("stages.default.params.{name}"),
            format!("params.default.{name}"),
        ];
        paths.iter().find_map(|path| self.own_value(path, depth))
    }

    fn file_value(
        &mut self,
        path: &str,
        address: &str,
        at: Position,
        depth: usize,
    ) -> Result<Option<DocumentNode>, Problem> {
        let file = self.directory.join(path);
        if !file.is_file() {
            return Ok(None);
        }
        let problem = |error: crate::TemplateError| Problem::new(at, error.to_string(), "correct the file");
        let text = crate::document::read_text(&file).map_err(problem)?;
        let document = match file.extension().and_then(|extension| extension.to_str()) {
            Some("yml" | "yaml") => crate::document::yaml::parse_yaml(&file, &text).map_err(problem)?,
            Some("json") => crate::document::json::parse_json(&file, &text).map_err(problem)?,
            Some("js" | "cjs" | "mjs" | "ts") => {
                let message = format!("{path} is a program, which is not run");
                return Err(Problem::new(at, message, "write its result to a YAML or JSON file"));
            }
            _ => DocumentNode::text(text, at),
        };
        let mut document = document;
        relocate(&mut document, at);
        let found = if address.is_empty() { Some(&document) } else { value_at(&document, address) };
        Ok(found.cloned().map(|node| self.resolve_at(&node, depth + 1)))
    }
}

/// Returns the value at a path such as `custom.tables.0.name`.
fn value_at<'n>(node: &'n DocumentNode, path: &str) -> Option<&'n DocumentNode> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(node, |node, part| {
        node.get(part).or_else(|| part.parse::<usize>().ok().and_then(|index| node.items().get(index)))
    })
}

/// Gives all values of another file the position of the variable, because findings name lines of one file.
fn relocate(node: &mut DocumentNode, at: Position) {
    node.position = at;
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().for_each(|item| relocate(item, at)),
        NodeValue::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.key_position = at;
            relocate(&mut entry.node, at);
        }),
        _ => {}
    }
}

/// Returns a node that the template reader reports when the value is used.
fn unresolved(problem: &Problem) -> DocumentNode {
    DocumentNode::single(UNRESOLVED, DocumentNode::text(problem.text(), problem.position))
}

fn remedy(sources: &[VariableSource]) -> String {
    match sources.first() {
        Some(VariableSource::Environment(name)) => format!("set the environment variable {name}"),
        Some(VariableSource::Option(name)) => format!("give the option {name}"),
        Some(VariableSource::Parameter(name)) => format!("give the parameter {name}"),
        Some(VariableSource::File { path, .. }) => format!("create {path}, or add a default"),
        Some(VariableSource::Remote) => "values of AWS services are not read; add a default".to_owned(),
        _ => "add the value or a default".to_owned(),
    }
}
