//! Functions on texts and lists: `Fn::Join`, `Fn::Select`, `Fn::Split`, `Fn::If`, `Fn::FindInMap` and others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Resolved, Resolver};
use crate::document::{DocumentNode, NodeValue, Position, UNRESOLVED};
use crate::error::Problem;

impl Resolver<'_> {
    /// Evaluates an intrinsic function.
    pub(super) fn call(&self, name: &str, argument: &DocumentNode, at: Position) -> Resolved {
        let text = |text: String| Ok(Some(DocumentNode::text(text, at)));
        match (name, argument.items()) {
            ("Ref", _) => match argument.as_text() {
                Some(target) => self.reference(target, at),
                None => Err(wrong_call(name, at)),
            },
            ("Fn::GetAtt", _) => self.get_attribute(argument, at),
            ("Fn::Sub", _) => self.substitute(argument, at).map(Some),
            ("Fn::Join", [separator, list]) => text(self.join(separator, list)?),
            ("Fn::Split", [separator, source]) => self.split(separator, source, at).map(Some),
            ("Fn::Select", [index, list]) => self.select(index, list, at).map(Some),
            ("Fn::If", [condition, yes, no]) => match condition.as_text() {
                Some(condition) if self.condition(condition, at)? => self.resolve(yes),
                Some(_) => self.resolve(no),
                None => Err(wrong_call(name, at)),
            },
            ("Fn::FindInMap", [map, first, second, options @ ..]) => {
                self.find_in_map([map, first, second], options, at)
            }
            ("Fn::ImportValue", _) => self.import(argument, at).map(Some),
            ("Fn::Base64", _) => text(STANDARD.encode(self.required_text(argument, name)?)),
            ("Fn::GetAZs", _) => Ok(Some(self.zones(at))),
            ("Fn::Length", _) => {
                let length = self.list(argument, at)?.len();
                Ok(Some(DocumentNode::new(NodeValue::Number(length.to_string()), at)))
            }
            ("Fn::ToJsonString", _) => match self.resolve(argument)? {
                Some(value) => text(value.to_json().to_string()),
                None => Ok(None),
            },
            (UNRESOLVED, _) => Err(Problem::new(at, argument.scalar().unwrap_or_default(), "")),
            _ => Err(wrong_call(name, at)),
        }
    }

    fn get_attribute(&self, argument: &DocumentNode, at: Position) -> Resolved {
        let (resource, attribute) = match (argument.items(), argument.as_text().and_then(|text| text.split_once('.'))) {
            ([resource, attribute], _) => (resource.scalar(), self.resolve_text(attribute)?),
            (_, Some((resource, attribute))) => (Some(resource.to_owned()), Some(attribute.to_owned())),
            _ => (None, None),
        };
        let Some((resource, attribute)) = resource.zip(attribute) else {
            return Err(Problem::new(at, "Fn::GetAtt has wrong arguments", "write Fn::GetAtt: [RESOURCE, ATTRIBUTE]"));
        };
        Ok(self.attribute(&resource, &attribute, at)?.map(|text| DocumentNode::text(text, at)))
    }

    fn join(&self, separator: &DocumentNode, list: &DocumentNode) -> Result<String, Problem> {
        let items = self.list(list, list.position)?;
        let mut texts = Vec::with_capacity(items.len());
        for item in &items {
            texts.push(item.scalar().ok_or_else(|| {
                let message = format!("Fn::Join has {} in its list", item.kind());
                Problem::new(item.position, message, "join texts only")
            })?);
        }
        Ok(texts.join(separator.as_text().unwrap_or_default()))
    }

    fn split(&self, separator: &DocumentNode, source: &DocumentNode, at: Position) -> Result<DocumentNode, Problem> {
        let source = self.required_text(source, "Fn::Split")?;
        let separator = separator
            .as_text()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Problem::new(at, "Fn::Split has no separator", "write Fn::Split: [separator, text]"))?;
        let items = source.split(separator).map(|part| DocumentNode::text(part, at)).collect();
        Ok(DocumentNode::new(NodeValue::List(items), at))
    }

    fn select(&self, index: &DocumentNode, list: &DocumentNode, at: Position) -> Result<DocumentNode, Problem> {
        let items = self.list(list, at)?;
        let index = self.required_text(index, "the index of Fn::Select")?;
        let selected = index.parse::<usize>().ok().and_then(|index| items.get(index).cloned());
        selected.ok_or_else(|| {
            let message = format!("Fn::Select has the index {index}, but its list has {} items", items.len());
            Problem::new(at, message, "indexes start with 0")
        })
    }

    /// Evaluates to a list.
    fn list(&self, node: &DocumentNode, at: Position) -> Result<Vec<DocumentNode>, Problem> {
        match self.resolve(node)?.map(|node| node.value) {
            Some(NodeValue::List(items)) => Ok(items),
            _ => Err(Problem::new(at, "the function needs a list", "write a list or a function that returns one")),
        }
    }

    fn find_in_map(&self, keys: [&DocumentNode; 3], options: &[DocumentNode], at: Position) -> Resolved {
        let mut path = Vec::with_capacity(keys.len());
        for key in keys {
            path.push(self.required_text(key, "a key of Fn::FindInMap")?);
        }
        let found = path.iter().try_fold(self.template.document.get("Mappings"), |node, key| {
            node.and_then(|node| node.get(key)).map(Some)
        });
        if let Some(node) = found.flatten() {
            return Ok(Some(node.clone()));
        }
        if let Some(default) = options.iter().find_map(|options| options.get("DefaultValue")) {
            return self.resolve(default);
        }
        let message = format!("Mappings has no {}", path.join("."));
        Err(Problem::new(at, message, "add the key to the mapping, or give another parameter or region"))
    }

    fn import(&self, argument: &DocumentNode, at: Position) -> Result<DocumentNode, Problem> {
        let name = self.required_text(argument, "Fn::ImportValue")?;
        let Some(value) = self.context.imports.get(&name) else {
            let message = format!("Fn::ImportValue needs the export {name} of another stack");
            return Err(Problem::new(at, message, format!("give a value for the import {name}")));
        };
        Ok(DocumentNode::text(value.clone(), at))
    }

    fn zones(&self, at: Position) -> DocumentNode {
        let zones = ["a", "b", "c"].map(|zone| DocumentNode::text(format!("{}{zone}", self.context.region), at));
        DocumentNode::new(NodeValue::List(zones.to_vec()), at)
    }
}

/// Returns the error of a function with wrong arguments, or of one that is not supported.
fn wrong_call(name: &str, at: Position) -> Problem {
    let form = match name {
        "Ref" => "Ref: NAME",
        "Fn::Join" => "Fn::Join: [separator, [text, text]]",
        "Fn::Split" => "Fn::Split: [separator, text]",
        "Fn::Select" => "Fn::Select: [index, [value, value]]",
        "Fn::If" => "Fn::If: [CONDITION, value, value]",
        "Fn::FindInMap" => "Fn::FindInMap: [MAP, KEY, KEY]",
        _ => return Problem::new(at, format!("{name} is not supported"), "write the value instead"),
    };
    Problem::new(at, format!("{name} has wrong arguments"), format!("write {form}"))
}
