//! Parameters: given values, defaults, types, permitted values.

use super::Resolver;
use crate::document::{DocumentNode, NodeValue, Position};
use crate::error::Problem;

impl Resolver<'_> {
    /// Returns the value of a parameter; `None` if the template has no such parameter.
    pub(super) fn parameter(&self, name: &str, position: Position) -> Option<Result<DocumentNode, Problem>> {
        let parameter = self.template.element("Parameters", name)?;
        Some(self.parameter_value(name, parameter, position))
    }

    fn parameter_value(
        &self,
        name: &str,
        parameter: &DocumentNode,
        position: Position,
    ) -> Result<DocumentNode, Problem> {
        let kind = parameter.get("Type").and_then(DocumentNode::as_text).unwrap_or("String");
        let given = self.context.parameters.get(name).cloned();
        let is_stored = kind.starts_with("AWS::SSM::Parameter::Value<");
        let default = parameter.get("Default").filter(|_| !is_stored).and_then(default_text);
        let Some(text) = given.or(default) else {
            let reason = if is_stored { "is a value of the Parameter Store" } else { "has no default" };
            let fix = format!("give a value for the parameter {name}");
            return Err(Problem::new(position, format!("the parameter {name} {reason} and no value"), fix));
        };
        check_permitted(name, parameter, &text, position)?;
        if kind == "Number" && text.parse::<f64>().is_err() {
            let message = format!("the parameter {name} is \"{text}\", but must be a number");
            return Err(Problem::new(position, message, "give a number"));
        }
        if kind == "CommaDelimitedList" || kind.contains("List<") || kind.contains("<CommaDelimitedList>") {
            let items = text.split(',').map(|item| DocumentNode::text(item.trim(), position)).collect();
            return Ok(DocumentNode::new(NodeValue::List(items), position));
        }
        Ok(DocumentNode::text(text, position))
    }
}

/// Defaults of lists may be lists in YAML, although CloudFormation documents texts.
fn default_text(node: &DocumentNode) -> Option<String> {
    if let NodeValue::List(items) = &node.value {
        return Some(items.iter().filter_map(DocumentNode::scalar).collect::<Vec<_>>().join(","));
    }
    node.scalar()
}

fn check_permitted(name: &str, parameter: &DocumentNode, text: &str, position: Position) -> Result<(), Problem> {
    let permitted: Vec<String> = parameter
        .get("AllowedValues")
        .map(|node| node.items().iter().filter_map(DocumentNode::scalar).collect())
        .unwrap_or_default();
    if permitted.is_empty() || permitted.iter().any(|value| value == text) {
        return Ok(());
    }
    let message = format!("the parameter {name} is \"{text}\", which its AllowedValues do not contain");
    Err(Problem::new(position, message, format!("give one of {}", permitted.join(", "))))
}
