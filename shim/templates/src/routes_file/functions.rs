//! The tables `functions.NAME`: command line, or runtime with code.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DEFAULT_FUNCTION_MEMORY_MIB, DEFAULT_FUNCTION_TIMEOUT, RoutesFileReader, location};
use crate::document::table::TableReader;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::model::{CodeLocation, FunctionResource};

/// Limits of Lambda for the timeout of a function.
const FUNCTION_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);

/// Limits of Lambda for the memory of a function, in MiB.
const FUNCTION_MEMORY_MIB: RangeInclusive<u64> = 128..=10_240;

impl RoutesFileReader<'_> {
    pub(super) fn read_functions(
        &mut self,
        entries: &[TableEntry],
        application: &str,
    ) -> BTreeMap<String, FunctionResource> {
        entries.iter().map(|entry| (entry.key.clone(), self.read_function(entry, application))).collect()
    }

    fn read_function(&mut self, entry: &TableEntry, application: &str) -> FunctionResource {
        let location = location("functions", entry);
        let mut table = TableReader::new(location.element.clone(), &entry.node, &mut self.errors);
        let code = self.read_code(&mut table, entry.key_position);
        let name = table.text("name", &mut self.errors);
        let timeout = table.duration("timeout", FUNCTION_TIMEOUT, &mut self.errors);
        let function = FunctionResource {
            name: name.unwrap_or_else(|| format!("{application}-{}", entry.key)),
            runtime: code.runtime,
            handler: code.handler,
            code: code.location,
            environment: table.texts("environment", &mut self.errors),
            timeout: timeout.unwrap_or(DEFAULT_FUNCTION_TIMEOUT),
            memory_mib: table
                .read("memory", "MiB from 128 to 10240, such as 512", &mut self.errors, memory)
                .unwrap_or(DEFAULT_FUNCTION_MEMORY_MIB),
            layers: self.read_layers(&mut table),
            reserved_concurrency: table.read("concurrency", "a number from 1 to 1000", &mut self.errors, concurrency),
            location,
        };
        table.finish(&mut self.errors);
        function
    }

    /// Reads `command` with `directory`, or `runtime` with `handler` and `code`.
    fn read_code(&mut self, table: &mut TableReader<'_>, position: Position) -> FunctionCode {
        let command = table.read("command", "a command line, such as [\"node\", \"app.js\"]", &mut self.errors, words);
        let directory = table.text("directory", &mut self.errors);
        let runtime = table.text("runtime", &mut self.errors);
        let handler = table.text("handler", &mut self.errors);
        let code_node = table.node("code");
        let code = table.text("code", &mut self.errors);
        if let Some(line) = command {
            if runtime.is_some() || handler.is_some() || code.is_some() {
                let message = format!("{} has a command and runtime, handler or code", table.path());
                self.errors.add(position, message, "write either command, or runtime, handler and code");
            }
            let directory = self.absolute(&directory.unwrap_or_default());
            let location = CodeLocation::Command { line, directory };
            return FunctionCode { runtime: String::new(), handler: handler.unwrap_or_default(), location };
        }
        if directory.is_some() {
            let message = format!("{} has a directory, which only a command uses", table.path());
            self.errors.add(position, message, "write code instead of directory");
        }
        let Some((code, node)) = code.zip(code_node) else {
            return self.missing_code(table, position);
        };
        let path = self.absolute(&code);
        let location = self.code_location(table, path, node.position);
        self.runtime_and_handler(table, position, location, (runtime, handler))
    }

    fn missing_code(&mut self, table: &TableReader<'_>, position: Position) -> FunctionCode {
        let message = format!("{} has neither a command nor code", table.path());
        let fix = "write command = [\"node\", \"app.js\"], or runtime, handler and code";
        self.errors.add(position, message, fix);
        let location = CodeLocation::Command { line: Vec::new(), directory: self.directory.clone() };
        FunctionCode { runtime: String::new(), handler: String::new(), location }
    }

    fn code_location(&mut self, table: &TableReader<'_>, path: PathBuf, position: Position) -> CodeLocation {
        if !path.exists() {
            let message = format!("{}: {} does not exist", table.name("code"), path.display());
            self.errors.add(
                position,
                message,
                "write the directory or the zip archive of the code, relative to this file",
            );
        } else if path.is_file() && !is_zip(&path) {
            let message = format!("{}: {} is neither a directory nor a .zip file", table.name("code"), path.display());
            self.errors.add(position, message, "write the directory that contains the file");
        }
        if path.is_file() { CodeLocation::Archive(path) } else { CodeLocation::Directory(path) }
    }

    /// A directory with an executable `bootstrap` needs neither runtime nor handler.
    fn runtime_and_handler(
        &mut self,
        table: &TableReader<'_>,
        position: Position,
        location: CodeLocation,
        (runtime, handler): (Option<String>, Option<String>),
    ) -> FunctionCode {
        let executable = matches!(&location, CodeLocation::Directory(path) if path.join("bootstrap").is_file());
        let runtime = runtime.or_else(|| executable.then(|| "provided.al2023".to_owned())).unwrap_or_else(|| {
            let message = format!("{} has code, but no runtime", table.path());
            self.errors.add(
                position,
                message,
                "write a Lambda runtime such as nodejs22.x, python3.13 or provided.al2023",
            );
            String::new()
        });
        let custom = runtime.starts_with("provided") || runtime.is_empty();
        let handler = handler.or_else(|| custom.then(|| "bootstrap".to_owned())).unwrap_or_else(|| {
            let message = format!("{} has no handler", table.path());
            self.errors.add(position, message, "write the handler, such as app.handler");
            String::new()
        });
        FunctionCode { runtime, handler, location }
    }

    fn read_layers(&mut self, table: &mut TableReader<'_>) -> Vec<PathBuf> {
        let Some(node) = table.node("layers") else { return Vec::new() };
        let layers = table.list("layers", &mut self.errors).unwrap_or_default();
        let paths: Vec<PathBuf> = layers.iter().map(|layer| self.absolute(layer)).collect();
        for path in paths.iter().filter(|path| !path.exists()) {
            let message = format!("{}: {} does not exist", table.name("layers"), path.display());
            self.errors.add(node.position, message, "write directories or zip archives, relative to this file");
        }
        paths
    }
}

/// Code of a function with its runtime.
struct FunctionCode {
    runtime: String,
    handler: String,
    location: CodeLocation,
}

fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip") || extension == "jar")
}

/// Reads a list of arguments, or a text without quotation marks that is split at spaces.
fn words(node: &DocumentNode) -> Option<Vec<String>> {
    let words: Vec<String> = match &node.value {
        NodeValue::Text(text) if text.contains(['"', '\'', '\\']) => return None,
        NodeValue::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        NodeValue::List(items) => items.iter().map(|item| item.as_text().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    (!words.is_empty()).then_some(words)
}

fn memory(node: &DocumentNode) -> Option<u32> {
    let mib = node.whole_number().filter(|mib| FUNCTION_MEMORY_MIB.contains(mib))?;
    u32::try_from(mib).ok()
}

fn concurrency(node: &DocumentNode) -> Option<usize> {
    let limit = node.whole_number().filter(|limit| (1..=1000).contains(limit))?;
    usize::try_from(limit).ok()
}
