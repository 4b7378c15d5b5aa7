//! Evaluation of intrinsic functions: parameters, conditions, mappings and references become values.

mod conditions;
mod functions;
mod parameters;
mod references;
mod substitution;

use std::cell::{OnceCell, RefCell};

pub(super) use self::substitution::{TextPart, text_parts};
use super::template::{Resource, Template, intrinsic};
use crate::context::ApplicationContext;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::error::Problem;

/// A value without intrinsic functions; `None` for `AWS::NoValue`, which removes the property.
pub(super) type Resolved = Result<Option<DocumentNode>, Problem>;

/// Evaluates nodes of one template for one context.
pub(super) struct Resolver<'a> {
    pub template: &'a Template<'a>,
    pub context: &'a ApplicationContext,
    pub stack_name: String,
    /// Logical id of the WebSocket API that has the id of the context.
    pub websocket_api: OnceCell<String>,
    /// Names of elements that are being evaluated, to detect circles.
    in_progress: RefCell<Vec<String>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(template: &'a Template<'a>, context: &'a ApplicationContext, stack_name: String) -> Self {
        Self { template, context, stack_name, websocket_api: OnceCell::new(), in_progress: RefCell::new(Vec::new()) }
    }

    /// Evaluates a node with everything in it.
    pub(super) fn resolve(&self, node: &DocumentNode) -> Resolved {
        if let Some((name, argument)) = intrinsic(node) {
            return self.call(name, argument, node.position);
        }
        let value = match &node.value {
            NodeValue::List(items) => NodeValue::List(self.resolve_items(items)?),
            NodeValue::Table(entries) => NodeValue::Table(self.resolve_entries(entries)?),
            scalar => scalar.clone(),
        };
        Ok(Some(DocumentNode::new(value, node.position)))
    }

    /// Evaluates to a text. Lists and tables are errors.
    pub(super) fn resolve_text(&self, node: &DocumentNode) -> Result<Option<String>, Problem> {
        let Some(value) = self.resolve(node)? else { return Ok(None) };
        match value.scalar() {
            Some(text) => Ok(Some(text)),
            None if value.is_null() => Ok(None),
            None => {
                let message = format!("the value is {}, but must be a text", value.kind());
                Err(Problem::new(node.position, message, "write a text or a function that returns one"))
            }
        }
    }

    /// Evaluates to a text that must be there.
    fn required_text(&self, node: &DocumentNode, purpose: &str) -> Result<String, Problem> {
        self.resolve_text(node)?.ok_or_else(|| Problem::new(node.position, format!("{purpose} has no value"), ""))
    }

    /// Returns whether a resource exists: it has no condition, or one that holds.
    pub(super) fn is_active(&self, resource: &Resource<'_>) -> Result<bool, Problem> {
        match resource.condition() {
            Some(name) => self.condition(name, resource.position),
            None => Ok(true),
        }
    }

    fn resolve_items(&self, items: &[DocumentNode]) -> Result<Vec<DocumentNode>, Problem> {
        items.iter().filter_map(|item| self.resolve(item).transpose()).collect()
    }

    fn resolve_entries(&self, entries: &[TableEntry]) -> Result<Vec<TableEntry>, Problem> {
        let mut resolved = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(node) = self.resolve(&entry.node)? {
                resolved.push(TableEntry { key: entry.key.clone(), key_position: entry.key_position, node });
            }
        }
        Ok(resolved)
    }

    /// Runs an evaluation of a named element; an evaluation that needs its own result is an error.
    fn guarded<T>(
        &self,
        name: &str,
        position: Position,
        evaluate: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let start = self.in_progress.borrow().iter().position(|known| known == name);
        if let Some(start) = start {
            let mut circle = self.in_progress.borrow()[start..].to_vec();
            circle.push(name.to_owned());
            let message = format!("circular reference: {}", circle.join(" → "));
            return Err(Problem::new(position, message, "remove one of the references"));
        }
        self.in_progress.borrow_mut().push(name.to_owned());
        let result = evaluate();
        self.in_progress.borrow_mut().pop();
        result
    }
}
