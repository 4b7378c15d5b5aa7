//! Conditions: `Fn::Equals`, `Fn::And`, `Fn::Or`, `Fn::Not`, `Condition`.

use super::Resolver;
use crate::document::table::nearest_name;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::error::Problem;

impl Resolver<'_> {
    /// Evaluates a condition of the section `Conditions`.
    pub(super) fn condition(&self, name: &str, position: Position) -> Result<bool, Problem> {
        let Some(node) = self.template.element("Conditions", name) else {
            let known = self.template.document.get("Conditions").map_or(&[][..], DocumentNode::entries);
            let fix = match nearest_name(name, known.iter().map(|entry| entry.key.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("add {name} to Conditions"),
            };
            return Err(Problem::new(position, format!("the condition {name} does not exist"), fix));
        };
        self.guarded(&format!("condition {name}"), position, || self.evaluate(node))
    }

    fn evaluate(&self, node: &DocumentNode) -> Result<bool, Problem> {
        let invalid = |message: &str| {
            let fix = "write Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition";
            Problem::new(node.position, message, fix)
        };
        let NodeValue::Table(entries) = &node.value else {
            return node.boolean().ok_or_else(|| invalid("the condition is no function"));
        };
        let [TableEntry { key, node: argument, .. }] = entries.as_slice() else {
            return Err(invalid("the condition is no function"));
        };
        match (key.as_str(), argument.items()) {
            ("Condition", _) => match argument.as_text() {
                Some(name) => self.condition(name, argument.position),
                None => Err(invalid("Condition needs the name of a condition")),
            },
            ("Fn::Equals", [left, right]) => Ok(self.comparable(left)? == self.comparable(right)?),
            ("Fn::Not", [operand]) => Ok(!self.evaluate(operand)?),
            ("Fn::And", operands @ [_, ..]) => self.all(operands, true),
            ("Fn::Or", operands @ [_, ..]) => Ok(!self.all(operands, false)?),
            ("Fn::Equals", _) => Err(invalid("Fn::Equals needs two values")),
            ("Fn::Not" | "Fn::And" | "Fn::Or", _) => Err(invalid(&format!("{key} needs a list of conditions"))),
            _ => Err(invalid(&format!("{key} is no condition function"))),
        }
    }

    /// Returns whether all operands have the value.
    fn all(&self, operands: &[DocumentNode], value: bool) -> Result<bool, Problem> {
        for operand in operands {
            if self.evaluate(operand)? != value {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Converts to a value that compares as CloudFormation compares: `1` equals `"1"`.
    fn comparable(&self, node: &DocumentNode) -> Result<Option<String>, Problem> {
        Ok(self.resolve(node)?.map(|value| value.scalar().unwrap_or_else(|| value.to_json().to_string())))
    }
}
