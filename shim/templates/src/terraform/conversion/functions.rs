//! Functions and layers.

use std::path::Path;

use super::{AttributeMap, ResourceConverter, entry, table, text};
use crate::document::json::from_value;
use crate::document::{DocumentNode, TableEntry};
use crate::model::{Finding, Severity, SourceLocation};
use crate::terraform::plan::PlannedResource;

const ATTRIBUTES: AttributeMap = &[
    ("function_name", "FunctionName"),
    ("runtime", "Runtime"),
    ("handler", "Handler"),
    ("timeout", "Timeout"),
    ("memory_size", "MemorySize"),
    ("architectures", "Architectures"),
    ("package_type", "PackageType"),
    ("layers", "Layers"),
];

impl<'c> ResourceConverter<'c> {
    pub(super) fn convert_function(&mut self, resource: &PlannedResource<'c>) {
        let mut properties = self.properties(resource, ATTRIBUTES);
        properties.push(entry("Code", self.code(resource)));
        let variables = resource.values["environment"][0].get("variables");
        let known = variables.map(from_value).unwrap_or_else(|| table(Vec::new()));
        let known = table(known.entries().iter().filter(|entry| !entry.node.is_null()).cloned().collect());
        properties.push(entry("Environment", table(vec![entry("Variables", known)])));
        // Terraform's value for no reservation is -1.
        let reserved = resource.values["reserved_concurrent_executions"].as_u64();
        properties.extend(reserved.map(|limit| entry("ReservedConcurrentExecutions", text(&limit.to_string()))));
        self.report_unknown_variables(resource);
        self.add(resource, "AWS::Lambda::Function", properties);
    }

    fn report_unknown_variables(&mut self, resource: &PlannedResource<'c>) {
        for name in self.plan.unknown_variables(resource.address) {
            let message = format!(
                "the variable {name} of the function {} is known only after terraform apply; set it for the server, \
                 or give terraform show -json of the state",
                resource.address
            );
            let location = SourceLocation { element: resource.address.to_owned(), line: 0 };
            self.findings.push(Finding { severity: Severity::Warning, location, message });
        }
    }

    /// Returns the archive, or its source if the archive does not exist yet.
    fn code(&self, resource: &PlannedResource<'c>) -> DocumentNode {
        let string = |name: &str| resource.values[name].as_str();
        if let Some(uri) = string("image_uri") {
            return table(vec![entry("ImageUri", text(uri))]);
        }
        let Some(path) = string("filename") else {
            return table(vec![entry("S3Key", text(string("s3_key").unwrap_or_default()))]);
        };
        match self.plan.archive_source(path) {
            Some(source) if !self.root.join(path).exists() => text(source),
            _ => text(path),
        }
    }

    pub(super) fn convert_layer(&mut self, resource: &PlannedResource<'c>) {
        let path = resource.values["filename"].as_str().map(Path::new).and_then(Path::to_str);
        let properties: Vec<TableEntry> = path.map(|path| entry("Content", text(path))).into_iter().collect();
        self.add(resource, "AWS::Lambda::LayerVersion", properties);
    }
}
