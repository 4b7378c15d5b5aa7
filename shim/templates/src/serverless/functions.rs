//! Functions and layers, with the defaults of `provider`.

use std::path::{Path, PathBuf};

use super::names::{function_id, layer_id, normalized};
use super::{TemplateGenerator, entry};
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};

/// Defaults of the framework.
const DEFAULT_RUNTIME: &str = "nodejs20.x";
const DEFAULT_TIMEOUT_SECONDS: &str = "6";
const DEFAULT_MEMORY_MIB: &str = "1024";

impl TemplateGenerator<'_, '_> {
    pub(super) fn add_functions(&mut self) {
        let Some(section) = self.document.get("functions") else { return };
        let section = self.variables.resolve(section);
        let parts = if section.is_table() { vec![section] } else { section.items().to_vec() };
        for entry in parts.iter().flat_map(DocumentNode::entries) {
            self.functions.insert(function_id(&entry.key), entry.key.clone());
        }
        for entry in parts.iter().flat_map(DocumentNode::entries) {
            self.add_function(entry);
        }
        self.finish_websocket_api();
    }

    fn add_function(&mut self, function: &TableEntry) {
        let at = function.key_position;
        let own = |name: &str| function.node.get(name).filter(|node| !node.is_null()).cloned();
        let provided = |name: &str| self.provider.get(name).filter(|node| !node.is_null()).cloned();
        let value = |name: &str| own(name).or_else(|| provided(name));
        let number = |name: &str, default: &str| {
            value(name).unwrap_or_else(|| DocumentNode::new(NodeValue::Number(default.to_owned()), at))
        };
        let name = format!("{}-{}-{}", self.service, self.stage, function.key);
        let runtime = value("runtime").unwrap_or_else(|| DocumentNode::text(DEFAULT_RUNTIME, at));
        let mut properties = vec![
            entry("FunctionName", own("name").unwrap_or_else(|| DocumentNode::text(name, at))),
            entry("Timeout", number("timeout", DEFAULT_TIMEOUT_SECONDS)),
            entry("MemorySize", number("memorySize", DEFAULT_MEMORY_MIB)),
            entry("Environment", self.environment(&function.node, at)),
        ];
        for (source, target) in [("reservedConcurrency", "ReservedConcurrentExecutions"), ("handler", "Handler")] {
            properties.extend(own(source).map(|node| entry(target, node)));
        }
        properties.extend(value("layers").map(|node| entry("Layers", node)));
        properties.extend(own("image").map(|node| entry("ImageUri", node)));
        properties.extend(own("durableConfig").map(|node| entry("DurableConfig", node)));
        properties
            .extend(own("url").filter(|url| url.boolean() != Some(false)).map(|node| entry("FunctionUrlConfig", node)));
        properties.extend(value("architecture").map(|node| entry("Architectures", node)));
        let code = self.code(function, &runtime);
        properties.extend([entry("CodeUri", code), entry("Runtime", runtime)]);
        let events = self.events(function);
        properties.push(entry("Events", DocumentNode::new(NodeValue::Table(events), at)));
        self.add(function_id(&function.key), "AWS::Serverless::Function", properties, at);
    }

    /// Merges the variables of provider and function; `null` removes one.
    fn environment(&self, function: &DocumentNode, at: Position) -> DocumentNode {
        let mut variables: Vec<TableEntry> = Vec::new();
        for node in [self.provider.get("environment"), function.get("environment")].into_iter().flatten() {
            for entry in node.entries() {
                variables.retain(|known| known.key != entry.key);
                variables.push(entry.clone());
            }
        }
        variables.retain(|entry| !entry.node.is_null());
        DocumentNode::single("Variables", DocumentNode::new(NodeValue::Table(variables), at))
    }

    /// Returns the code: `package.artifact`, the service directory, or the archive of `serverless package`.
    fn code(&mut self, function: &TableEntry, runtime: &DocumentNode) -> DocumentNode {
        let at = function.key_position;
        let package = self.document.get("package").map(|node| self.variables.resolve(node));
        let artifact = |node: Option<&DocumentNode>| node.and_then(|node| node.get("artifact")).cloned();
        if let Some(node) = artifact(function.node.get("package")).or_else(|| artifact(package.as_ref())) {
            return node;
        }
        let handler = function.node.get("handler").and_then(DocumentNode::scalar).unwrap_or_default();
        if has_source(&self.root, &handler, &runtime.scalar().unwrap_or_default()) {
            return DocumentNode::text(".", at);
        }
        let names = [function.key.clone(), self.service.clone()];
        let built =
            names.iter().map(|name| format!(".serverless/{name}.zip")).find(|name| self.root.join(name).is_file());
        DocumentNode::text(built.unwrap_or_else(|| ".".to_owned()), at)
    }

    pub(super) fn add_layers(&mut self) {
        let Some(section) = self.document.get("layers") else { return };
        let section = self.variables.resolve(section);
        for layer in section.entries() {
            let artifact = layer.node.get("package").and_then(|package| package.get("artifact"));
            let Some(path) = layer.node.get("path").or(artifact) else { continue };
            let properties = vec![entry("ContentUri", path.clone())];
            self.add(layer_id(&layer.key), "AWS::Serverless::LayerVersion", properties, layer.key_position);
        }
    }

    /// Returns the logical id of a function in `functions`.
    pub(super) fn known_function(&self, name: &str) -> Option<String> {
        self.functions.contains_key(&function_id(name)).then(|| function_id(name))
    }

    /// Returns the logical id of an authorizer.
    pub(super) fn authorizer_id(name: &str) -> String {
        format!("{}WebsocketsAuthorizer", normalized(name))
    }
}

/// Returns whether the handler's file is in the directory. Files of compiled languages are not.
fn has_source(root: &Path, handler: &str, runtime: &str) -> bool {
    let extensions: &[&str] = match runtime {
        _ if runtime.starts_with("nodejs") => &["js", "mjs", "cjs"],
        _ if runtime.starts_with("python") => &["py"],
        _ if runtime.starts_with("ruby") => &["rb"],
        _ => return root.join("bootstrap").is_file(),
    };
    let stem = handler.rsplit_once('.').map_or(handler, |(stem, _)| stem);
    extensions
        .iter()
        .map(|extension| PathBuf::from(format!("{stem}.{extension}")))
        .any(|file| root.join(file).is_file())
}
