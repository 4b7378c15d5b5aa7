//! Circular dependencies between resources, which CloudFormation rejects.

use std::collections::{BTreeMap, BTreeSet};

use super::resolver::{TextPart, text_parts};
use super::template::{Resource, Template, intrinsic};
use crate::document::{DocumentNode, NodeValue};
use crate::model::{Finding, Severity};

/// Returns an error for each circle of references.
pub(super) fn circular_dependencies(template: &Template<'_>) -> Vec<Finding> {
    let edges: BTreeMap<&str, BTreeSet<String>> =
        template.resources.iter().map(|(name, resource)| (*name, dependencies(template, resource))).collect();
    let mut search = CircleSearch { edges: &edges, finished: BTreeSet::new(), path: Vec::new(), circles: Vec::new() };
    for name in edges.keys() {
        search.visit(name);
    }
    search.circles.iter().map(|circle| finding(template, circle)).collect()
}

fn finding(template: &Template<'_>, circle: &[String]) -> Finding {
    let first = circle.first().and_then(|name| template.resources.get(name.as_str()));
    let names: Vec<String> = circle
        .iter()
        .map(|name| {
            let line = template.resources.get(name.as_str()).map_or(0, |resource| resource.position.line);
            format!("{name} (line {line})")
        })
        .collect();
    let message = format!("circular dependency: {}; remove one of the references", names.join(" → "));
    Finding { severity: Severity::Error, location: first.map(Resource::location).unwrap_or_default(), message }
}

struct CircleSearch<'g> {
    edges: &'g BTreeMap<&'g str, BTreeSet<String>>,
    finished: BTreeSet<String>,
    path: Vec<String>,
    circles: Vec<Vec<String>>,
}

impl CircleSearch<'_> {
    /// Depth-first search. The depth is limited by the number of resources.
    fn visit(&mut self, name: &str) {
        if self.finished.contains(name) {
            return;
        }
        if let Some(start) = self.path.iter().position(|known| known == name) {
            let mut circle = self.path[start..].to_vec();
            circle.push(name.to_owned());
            self.circles.push(circle);
            return;
        }
        self.path.push(name.to_owned());
        for next in self.edges.get(name).into_iter().flatten() {
            self.visit(next);
        }
        self.path.pop();
        self.finished.insert(name.to_owned());
    }
}

/// Returns the resources that a resource refers to. The SAM transformation moves the routes and authorizers of an API
/// into resources of their own, so that these references are none of the API.
fn dependencies(template: &Template<'_>, resource: &Resource<'_>) -> BTreeSet<String> {
    let mut names = Vec::new();
    if let Some(depends) = resource.node.get("DependsOn") {
        names.extend(depends.items().iter().chain(std::iter::once(depends)).filter_map(DocumentNode::scalar));
    }
    let skipped: &[&str] = match resource.kind {
        "AWS::Serverless::WebSocketApi" | "AWS::Serverless::HttpApi" | "AWS::Serverless::Api" => &["Routes", "Auth"],
        // Permissions and event sources of a function become resources of their own.
        "AWS::Serverless::Function" => &["Events", "Policies"],
        _ => &[],
    };
    for entry in resource.node.get("Properties").map_or(&[][..], DocumentNode::entries) {
        if !skipped.contains(&entry.key.as_str()) {
            collect_names(&entry.node, &mut names);
        }
    }
    names.into_iter().filter(|name| template.resources.contains_key(name.as_str())).collect()
}

/// Collects the names in `Ref`, `Fn::GetAtt` and `Fn::Sub`.
fn collect_names(node: &DocumentNode, names: &mut Vec<String>) {
    match intrinsic(node) {
        Some(("Ref", target)) => names.extend(target.scalar()),
        Some(("Fn::GetAtt", argument)) => {
            let first = argument.items().first().and_then(DocumentNode::scalar);
            let text = || argument.as_text().and_then(|text| text.split('.').next()).map(str::to_owned);
            names.extend(first.or_else(text));
        }
        Some(("Fn::Sub", argument)) => {
            let (text, variables) = match argument.items() {
                [text, variables] => (text, Some(variables)),
                _ => (argument, None),
            };
            for part in text_parts(text.as_text().unwrap_or_default()) {
                let TextPart::Variable(name) = part else { continue };
                if variables.is_none_or(|table| table.get(name).is_none()) {
                    names.extend(name.split('.').next().map(str::to_owned));
                }
            }
            if let Some(variables) = variables {
                collect_names(variables, names);
            }
        }
        _ => match &node.value {
            NodeValue::List(items) => items.iter().for_each(|item| collect_names(item, names)),
            NodeValue::Table(entries) => entries.iter().for_each(|entry| collect_names(&entry.node, names)),
            _ => {}
        },
    }
}
