//! Code of functions: local paths, archives, CDK assets, text in the template.

use std::path::{Path, PathBuf};

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{CodeLocation, Severity};

impl<'a> TemplateReader<'a> {
    pub(super) fn read_code(
        &mut self,
        resource: &Resource<'a>,
        runtime: &str,
        handler: &str,
        has_layers: bool,
    ) -> CodeLocation {
        if self.is_image(resource) {
            let remedy = "package the function as a zip archive";
            let message =
                format!("the function {} is a container image, which cannot be run; {remedy}", resource.logical_id);
            self.report(Severity::Error, resource.location(), message);
            return self.missing_code(remedy);
        }
        if let Some(text) = self.inline_code(resource) {
            return CodeLocation::Inline(text);
        }
        let Some(path) = self.code_path(resource) else {
            let message = format!(
                "the code of the function {} is not a local path; give the template from before sam package or deploy",
                resource.logical_id
            );
            self.report(Severity::Error, resource.location(), message);
            return self.missing_code(self.files.build_command);
        };
        if !path.exists() {
            return CodeLocation::Missing { path, remedy: self.files.build_command.to_owned() };
        }
        if path.is_file() {
            return CodeLocation::Archive(path);
        }
        self.code_directory(resource, path, (runtime, handler), has_layers)
    }

    fn inline_code(&mut self, resource: &Resource<'a>) -> Option<String> {
        if let Some(node) = self.function_node(resource, "InlineCode") {
            let value = self.evaluate(node, resource.property_location("InlineCode"))?;
            return value.scalar();
        }
        let node = resource.property("Code")?.get("ZipFile")?;
        self.evaluate(node, resource.property_location("Code"))?.scalar()
    }

    /// Returns the directory or archive of the code.
    fn code_path(&mut self, resource: &Resource<'a>) -> Option<PathBuf> {
        if let Some(path) = self.asset_path(resource, "Code") {
            return Some(path);
        }
        let is_sam = resource.kind == "AWS::Serverless::Function";
        let property = if is_sam { "CodeUri" } else { "Code" };
        if is_sam && self.function_node(resource, property).is_none() {
            // The SAM CLI's default.
            return Some(self.files.root.clone());
        }
        let value = self.function_value(resource, property)?;
        let uri = value.as_text().filter(|uri| !uri.starts_with("s3://") && !uri.starts_with("https://"))?;
        Some(self.files.root.join(uri))
    }

    /// Returns the asset of a property: by the metadata of the CDK, or by S3 key and asset manifest.
    pub(super) fn asset_path(&mut self, resource: &Resource<'a>, property: &str) -> Option<PathBuf> {
        if let Some(path) = resource.metadata("aws:asset:path").and_then(DocumentNode::as_text) {
            let path = self.files.root.join(path);
            if path.exists() {
                return Some(path);
            }
        }
        let key = resource.property(property)?.get("S3Key")?;
        let key = self.evaluate(key, resource.property_location(property))?.scalar()?;
        self.files.assets.get(&key).cloned()
    }

    /// Checks that a directory contains runnable code; sources of compiled languages need a build first.
    fn code_directory(
        &mut self,
        resource: &Resource<'a>,
        path: PathBuf,
        (runtime, handler): (&str, &str),
        has_layers: bool,
    ) -> CodeLocation {
        let Some(expected) = missing_file(&path, runtime, handler, has_layers) else {
            self.check_packages(resource, &path, runtime);
            return CodeLocation::Directory(path);
        };
        if self.files.is_built {
            let message = format!("the function {} has no {} in its code", resource.logical_id, expected.display());
            self.report(Severity::Error, resource.location(), message);
        }
        CodeLocation::Missing { path: expected, remedy: self.files.build_command.to_owned() }
    }

    /// Packages that only a build installs.
    fn check_packages(&mut self, resource: &Resource<'a>, path: &Path, runtime: &str) {
        if self.files.is_built {
            return;
        }
        let missing = if runtime.starts_with("python") {
            has_requirements(path).then_some("requirements.txt, but its packages may be missing")
        } else if runtime.starts_with("nodejs") {
            (has_dependencies(path) && !path.join("node_modules").exists())
                .then_some("dependencies in package.json, but no node_modules")
        } else {
            None
        };
        if let Some(missing) = missing {
            let message = format!(
                "the code of the function {} has {missing}; run {}",
                resource.logical_id, self.files.build_command
            );
            self.report(Severity::Warning, resource.location(), message);
        }
    }
}

/// Returns the file without which the function cannot start, if it does not exist.
fn missing_file(path: &Path, runtime: &str, handler: &str, has_layers: bool) -> Option<PathBuf> {
    let module = handler.rsplit_once('.').map_or(handler, |(module, _)| module);
    let candidates: Vec<String> = if runtime.starts_with("provided") {
        vec!["bootstrap".to_owned()]
    } else if runtime.starts_with("nodejs") {
        // The function name follows the first dot of the file name.
        let (directory, file) =
            handler.rsplit_once('/').map_or((String::new(), handler), |(d, f)| (format!("{d}/"), f));
        let stem = file.split('.').next().unwrap_or_default();
        ["js", "mjs", "cjs"].iter().map(|extension| format!("{directory}{stem}.{extension}")).collect()
    } else if runtime.starts_with("python") {
        let file = module.replace('.', "/");
        vec![format!("{file}.py"), format!("{file}/__init__.py"), format!("{file}.so")]
    } else if runtime.starts_with("ruby") {
        vec![format!("{}.rb", handler.split('.').next().unwrap_or_default())]
    } else if runtime.starts_with("java") {
        return compiled_file_missing(path, &["jar", "class"], "lib").then(|| path.join("lib"));
    } else if runtime.starts_with("dotnet") {
        return compiled_file_missing(path, &["dll"], "").then(|| path.join("*.dll"));
    } else {
        return None;
    };
    // Handlers of wrappers are in a layer.
    let in_layer = has_layers || handler.starts_with('/');
    let exists = candidates.iter().any(|candidate| path.join(candidate).is_file());
    (!exists && !in_layer).then(|| path.join(&candidates[0]))
}

/// Returns whether a directory and its subdirectory contain no file with one of the extensions, or, for Java, no
/// directory of compiled classes.
fn compiled_file_missing(path: &Path, extensions: &[&str], directory: &str) -> bool {
    let has =
        |path: &Path| {
            std::fs::read_dir(path).into_iter().flatten().flatten().any(|entry| {
                entry.path().extension().is_some_and(|e| extensions.iter().any(|extension| e == *extension))
            })
        };
    let has_packages = path.join("META-INF").is_dir() || path.join("com").is_dir() || path.join("org").is_dir();
    !(has(path) || has(&path.join(directory)) || has_packages)
}

fn has_requirements(path: &Path) -> bool {
    let text = std::fs::read_to_string(path.join("requirements.txt")).unwrap_or_default();
    text.lines().map(str::trim).any(|line| {
        let is_package = !line.is_empty() && !line.starts_with('#');
        // Part of the runtime.
        is_package && !line.starts_with("boto3") && !line.starts_with("botocore")
    })
}

fn has_dependencies(path: &Path) -> bool {
    let text = std::fs::read_to_string(path.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let names = package["dependencies"].as_object().into_iter().flatten().map(|(name, _)| name);
    // The SDK is part of the runtime.
    names.filter(|name| !name.starts_with("@aws-sdk/") && *name != "aws-sdk").count() > 0
}
