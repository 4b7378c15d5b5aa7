//! Functions: `AWS::Serverless::Function` with its globals, and `AWS::Lambda::Function`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{CodeLocation, FunctionResource, Severity};

/// Types of functions.
pub(super) const FUNCTION_KINDS: [&str; 2] = ["AWS::Serverless::Function", "AWS::Lambda::Function"];

/// Lambda's defaults for functions of a template.
const DEFAULT_TIMEOUT_SECONDS: u64 = 3;
const DEFAULT_MEMORY_MIB: u32 = 128;

/// Properties whose effect the server does not have, with the reason.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("FileSystemConfigs", "file systems are not mounted; mount them into the pod and use the same path"),
    ("FunctionUrlConfig", "function URLs are not served; add a route of an HTTP API"),
];

impl<'a> TemplateReader<'a> {
    pub(super) fn read_functions(&mut self) -> BTreeMap<String, FunctionResource> {
        let resources = self.active(&FUNCTION_KINDS);
        for resource in &resources {
            match self.resolver.physical_name(resource, resource.position) {
                Ok(name) => {
                    self.function_names.insert(name, resource.logical_id.to_owned());
                }
                Err(problem) => self.report_problem(resource.property_location("FunctionName"), &problem),
            }
        }
        resources.iter().map(|resource| (resource.logical_id.to_owned(), self.read_function(resource))).collect()
    }

    fn read_function(&mut self, resource: &Resource<'a>) -> FunctionResource {
        self.report_unsupported(resource);
        let runtime = self.function_text(resource, "Runtime").unwrap_or_default();
        let handler = self.handler(resource, &runtime);
        let layers = self.read_layers(resource);
        let name = self.resolver.physical_name(resource, resource.position);
        FunctionResource {
            name: name.unwrap_or_else(|_| resource.logical_id.to_owned()),
            code: self.read_code(resource, &runtime, &handler, !layers.is_empty()),
            handler,
            environment: self.read_environment(resource),
            timeout: Duration::from_secs(self.whole(resource, "Timeout").unwrap_or(DEFAULT_TIMEOUT_SECONDS)),
            memory_mib: self.whole(resource, "MemorySize").unwrap_or(DEFAULT_MEMORY_MIB),
            layers,
            reserved_concurrency: self.whole(resource, "ReservedConcurrentExecutions"),
            location: resource.location(),
            runtime,
        }
    }

    /// Returns a property as written: that of the function, otherwise that of `Globals`.
    pub(super) fn function_node(&self, resource: &Resource<'a>, name: &str) -> Option<&'a DocumentNode> {
        resource.property(name).or_else(|| self.global(resource, name))
    }

    /// Returns a property of `Globals.Function`, which SAM applies to its own type only.
    pub(super) fn global(&self, resource: &Resource<'a>, name: &str) -> Option<&'a DocumentNode> {
        let globals = self.template.globals("Function").filter(|_| resource.kind == "AWS::Serverless::Function");
        globals?.get(name)
    }

    pub(super) fn function_value(&mut self, resource: &Resource<'a>, name: &str) -> Option<DocumentNode> {
        let node = self.function_node(resource, name)?;
        let mut location = resource.property_location(name);
        location.line = node.position.line;
        self.evaluate(node, location)
    }

    pub(super) fn function_text(&mut self, resource: &Resource<'a>, name: &str) -> Option<String> {
        let value = self.function_value(resource, name)?;
        self.convert(&value, "a text", resource.property_location(name), DocumentNode::scalar)
    }

    fn whole<T: TryFrom<u64>>(&mut self, resource: &Resource<'a>, name: &str) -> Option<T> {
        let value = self.function_value(resource, name)?;
        self.convert(&value, "a whole number", resource.property_location(name), |value| {
            T::try_from(value.whole_number()?).ok()
        })
    }

    /// The handler has a default for executables only.
    fn handler(&mut self, resource: &Resource<'a>, runtime: &str) -> String {
        let is_image = self.is_image(resource);
        if runtime.is_empty() && !is_image {
            let message = format!("the function {} has no Runtime; add one such as nodejs22.x", resource.logical_id);
            self.report(Severity::Error, resource.location(), message);
        }
        if let Some(handler) = self.function_text(resource, "Handler") {
            return handler;
        }
        if !runtime.is_empty() && !runtime.starts_with("provided") && !is_image {
            let message = format!("the function {} has no Handler; add one such as app.handler", resource.logical_id);
            self.report(Severity::Error, resource.location(), message);
        }
        "bootstrap".to_owned()
    }

    /// Returns whether the function is a container image.
    pub(super) fn is_image(&mut self, resource: &Resource<'a>) -> bool {
        let has_uri = self.function_node(resource, "ImageUri").is_some()
            || resource.property("Code").is_some_and(|code| code.get("ImageUri").is_some());
        has_uri || self.function_text(resource, "PackageType").is_some_and(|kind| kind == "Image")
    }

    fn report_unsupported(&mut self, resource: &Resource<'a>) {
        for (property, reason) in UNSUPPORTED {
            if self.function_node(resource, property).is_some() {
                let message = format!("{property} of the function {}: {reason}", resource.logical_id);
                self.report(Severity::Warning, resource.property_location(property), message);
            }
        }
        if self.function_node(resource, "DurableConfig").is_some() {
            let name = resource.logical_id;
            let message =
                format!("the function {name} is a durable function, which needs Lambda itself; remove DurableConfig");
            self.report(Severity::Error, resource.property_location("DurableConfig"), message);
        }
        self.check_architecture(resource);
    }

    /// Executables of another processor architecture cannot run here.
    fn check_architecture(&mut self, resource: &Resource<'a>) {
        let Some(value) = self.function_value(resource, "Architectures") else { return };
        let architecture = super::reader::text_list(&value).and_then(|list| list.into_iter().next());
        let architecture = architecture.unwrap_or_else(|| "x86_64".to_owned());
        let host = if std::env::consts::ARCH == "aarch64" { "arm64" } else { std::env::consts::ARCH };
        let runtime = self.function_text(resource, "Runtime").unwrap_or_default();
        if architecture != host && runtime.starts_with("provided") {
            let name = resource.logical_id;
            let message = format!(
                "the function {name} is built for {architecture}, but this machine is {host}; build it for {host}"
            );
            self.report(Severity::Warning, resource.property_location("Architectures"), message);
        }
    }

    /// Returns the code of a function that cannot be read, with the remedy.
    pub(super) fn missing_code(&self, remedy: impl Into<String>) -> CodeLocation {
        CodeLocation::Missing { path: self.files.root.clone(), remedy: remedy.into() }
    }
}
