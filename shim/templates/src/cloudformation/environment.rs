//! Variables of functions.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::{DocumentNode, TableEntry};
use crate::model::{Severity, SourceLocation};

impl<'a> TemplateReader<'a> {
    /// Evaluates the variables of a function; those of `Globals` first.
    pub(super) fn read_environment(&mut self, resource: &Resource<'a>) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        for node in [self.global(resource, "Environment"), resource.property("Environment")].into_iter().flatten() {
            let Some(variables) = node.get("Variables") else { continue };
            if super::template::intrinsic(variables).is_some() {
                let location = resource.property_location("Environment");
                if let Some(value) = self.evaluate(variables, location.clone()) {
                    environment.extend(self.table_of_texts(&value, location));
                }
                continue;
            }
            for entry in variables.entries() {
                let value = self.variable(resource, entry);
                environment.extend(value.map(|value| (entry.key.clone(), value)));
            }
        }
        environment
    }

    fn variable(&mut self, resource: &Resource<'a>, entry: &TableEntry) -> Option<String> {
        let element = format!("Resources.{}.Properties.Environment.Variables.{}", resource.logical_id, entry.key);
        let location = SourceLocation { element, line: entry.key_position.line };
        let value = self.evaluate(&entry.node, location.clone())?;
        let text = self.convert(&value, "a text", location.clone(), DocumentNode::scalar)?;
        if text.contains("{{resolve:") {
            let name = &entry.key;
            let message =
                format!("the variable {name} is a dynamic reference, which is not resolved; set {name} for the server");
            self.report(Severity::Warning, location, message);
        }
        Some(text)
    }
}
