//! `Fn::Sub`: `${Name}`, `${Resource.Attribute}`, `${!Literal}`.

use super::Resolver;
use crate::document::{DocumentNode, Position};
use crate::error::Problem;

/// A part of a template text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cloudformation) enum TextPart<'t> {
    Literal(&'t str),
    /// `${!Name}`, which becomes `${Name}`.
    Escaped(&'t str),
    Variable(&'t str),
}

/// Splits a text into its parts. `${` without `}` is a literal.
pub(in crate::cloudformation) fn text_parts(text: &str) -> Vec<TextPart<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start + 2..].find('}') else { break };
        let name = &rest[start + 2..start + 2 + length];
        if start > 0 {
            parts.push(TextPart::Literal(&rest[..start]));
        }
        parts.push(match name.strip_prefix('!') {
            Some(literal) => TextPart::Escaped(literal),
            None => TextPart::Variable(name.trim()),
        });
        rest = &rest[start + 3 + length..];
    }
    if !rest.is_empty() {
        parts.push(TextPart::Literal(rest));
    }
    parts
}

impl Resolver<'_> {
    /// Evaluates a text, or a list of a text and a table of variables.
    pub(super) fn substitute(&self, argument: &DocumentNode, position: Position) -> Result<DocumentNode, Problem> {
        let (text, variables) = match argument.items() {
            [text, variables] => (text, Some(variables)),
            _ => (argument, None),
        };
        let Some(text) = text.as_text() else {
            let fix = "write Fn::Sub: text, or Fn::Sub: [text, {Name: value}]";
            return Err(Problem::new(position, "Fn::Sub needs a text", fix));
        };
        let mut result = String::new();
        for part in text_parts(text) {
            match part {
                TextPart::Literal(literal) => result.push_str(literal),
                TextPart::Escaped(name) => result.push_str(&format!("${{{name}}}")),
                TextPart::Variable(name) => result.push_str(&self.variable(name, variables, position)?),
            }
        }
        Ok(DocumentNode::text(result, position))
    }

    fn variable(&self, name: &str, variables: Option<&DocumentNode>, position: Position) -> Result<String, Problem> {
        if let Some(node) = variables.and_then(|table| table.get(name)) {
            return self.required_text(node, &format!("${{{name}}}"));
        }
        let value = match name.split_once('.') {
            Some((resource, attribute)) => self.attribute(resource, attribute, position)?,
            None => self.reference(name, position)?.and_then(|node| node.scalar()),
        };
        value.ok_or_else(|| {
            let message = format!("${{{name}}} in Fn::Sub is a list or has no value");
            Problem::new(position, message, "use Fn::Join for a list")
        })
    }
}
