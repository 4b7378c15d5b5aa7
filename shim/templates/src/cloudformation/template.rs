//! Sections and resources of a template.

use std::collections::BTreeMap;

use crate::document::{DocumentNode, NodeValue, Position};
use crate::error::Problem;
use crate::model::SourceLocation;

/// A parsed template.
pub(super) struct Template<'a> {
    pub document: &'a DocumentNode,
    pub resources: BTreeMap<&'a str, Resource<'a>>,
}

/// A resource with its properties as written.
#[derive(Clone, Copy)]
pub(super) struct Resource<'a> {
    pub logical_id: &'a str,
    /// Such as `AWS::Lambda::Function`.
    pub kind: &'a str,
    pub node: &'a DocumentNode,
    pub position: Position,
}

impl<'a> Template<'a> {
    /// # Errors
    ///
    /// Fails for a document that has no resources with types.
    pub(super) fn new(document: &'a DocumentNode) -> Result<Self, Problem> {
        let Some(section) = document.get("Resources").filter(|node| node.is_table()) else {
            let fix = "a CloudFormation or SAM template has a table Resources";
            return Err(Problem::new(document.position, "the template has no Resources", fix));
        };
        let mut resources = BTreeMap::new();
        for entry in section.entries() {
            if entry.key.starts_with("Fn::") {
                let message = format!("{} in Resources is not supported", entry.key);
                let fix = "give the processed template: aws cloudformation get-template --template-stage Processed";
                return Err(Problem::new(entry.key_position, message, fix));
            }
            let Some(kind) = entry.node.get("Type").and_then(DocumentNode::as_text) else {
                let message = format!("the resource {} has no Type", entry.key);
                return Err(Problem::new(entry.key_position, message, "add the type, such as AWS::Lambda::Function"));
            };
            let resource = Resource { logical_id: &entry.key, kind, node: &entry.node, position: entry.key_position };
            resources.insert(entry.key.as_str(), resource);
        }
        Ok(Self { document, resources })
    }

    /// Returns an element of a section, such as a parameter.
    pub(super) fn element(&self, section: &str, name: &str) -> Option<&'a DocumentNode> {
        self.document.get(section)?.get(name)
    }

    /// Returns the defaults that SAM applies to a resource type, such as `Function`.
    pub(super) fn globals(&self, section: &str) -> Option<&'a DocumentNode> {
        self.element("Globals", section)
    }

    /// Returns the resources of the types, in the order of the template.
    pub(super) fn of_kind(&self, kinds: &[&str]) -> Vec<Resource<'a>> {
        let mut found: Vec<Resource<'a>> =
            self.resources.values().filter(|resource| kinds.contains(&resource.kind)).copied().collect();
        found.sort_by_key(|resource| (resource.position, resource.logical_id));
        found
    }
}

impl<'a> Resource<'a> {
    /// Returns a property as written.
    pub(super) fn property(&self, name: &str) -> Option<&'a DocumentNode> {
        self.node.get("Properties")?.get(name)
    }

    /// Returns a value of `Metadata`.
    pub(super) fn metadata(&self, name: &str) -> Option<&'a DocumentNode> {
        self.node.get("Metadata")?.get(name)
    }

    pub(super) fn condition(&self) -> Option<&'a str> {
        self.node.get("Condition").and_then(DocumentNode::as_text)
    }

    pub(super) fn location(&self) -> SourceLocation {
        SourceLocation { element: format!("Resources.{}", self.logical_id), line: self.position.line }
    }

    /// Returns the location of a property: its own line if it is there.
    pub(super) fn property_location(&self, name: &str) -> SourceLocation {
        let line = self.property(name).map_or(self.position.line, |node| node.position.line);
        SourceLocation { element: format!("Resources.{}.Properties.{name}", self.logical_id), line }
    }
}

/// Returns the name and the argument of an intrinsic function, which is a table with one key.
pub(super) fn intrinsic(node: &DocumentNode) -> Option<(&str, &DocumentNode)> {
    match &node.value {
        NodeValue::Table(entries) => match entries.as_slice() {
            [entry] if entry.key == "Ref" || entry.key.starts_with("Fn::") => Some((&entry.key, &entry.node)),
            _ => None,
        },
        _ => None,
    }
}
