//! The routes file: Twinway's own description of an application, in TOML.
//!
//! Relative paths in the file start at its directory. The reference is `docs/TEMPLATES.md`.

mod api;
mod functions;
mod http;
mod routes;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::http::split_route_key;
use crate::document::table::{ErrorCollector, TableReader, nearest_name};
use crate::document::{DocumentNode, Position, TableEntry};
use crate::error::TemplateError;
use crate::model::{Application, FunctionResource, SourceLocation};

/// Time limit of a function without `timeout`: API Gateway's limit of an integration is 29 s, so that a function ends
/// by itself before it is stopped.
pub const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Memory of a function without `memory`, in MiB.
pub const DEFAULT_FUNCTION_MEMORY_MIB: u32 = 512;

/// Stage of an API without `stage`.
pub const DEFAULT_STAGE: &str = "prod";

/// Reads a routes file. `path` is the file's path, for messages and relative paths.
///
/// ```
/// use std::path::Path;
///
/// let text = r#"
///     [routes]
///     "$connect" = "chat"
///     sendmessage = { function = "chat", two_way = true }
///
///     [functions.chat]
///     command = ["node", "chat.js"]
/// "#;
/// let application = templates::read_routes_file(Path::new("/app/twinway.routes.toml"), text)?;
/// let api = application.websocket_api.expect("a file with routes has an API");
/// assert_eq!(api.route_selection_expression, "$request.body.action");
/// assert_eq!(api.routes.len(), 2);
/// # Ok::<(), templates::TemplateError>(())
/// ```
///
/// # Errors
///
/// All errors of the file at once: syntax, unknown keys, wrong values, functions and files that do not exist.
pub fn read_routes_file(path: &Path, text: &str) -> Result<Application, TemplateError> {
    let document = crate::document::toml::parse_toml(path, text)?;
    let mut reader = RoutesFileReader::new(path);
    let application = reader.application(&document);
    reader.errors.finish(application)
}

/// State of reading one file.
struct RoutesFileReader<'a> {
    path: PathBuf,
    directory: PathBuf,
    functions: BTreeMap<String, FunctionResource>,
    errors: ErrorCollector<'a>,
}

impl<'a> RoutesFileReader<'a> {
    fn new(path: &'a Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self { path: absolute, directory, functions: BTreeMap::new(), errors: ErrorCollector::new(path) }
    }

    fn application(&mut self, document: &DocumentNode) -> Application {
        let mut table = TableReader::new("", document, &mut self.errors);
        let name = table.text("name", &mut self.errors).unwrap_or_else(|| self.directory_name());
        let functions = table.children("functions", &mut self.errors);
        self.functions = self.read_functions(functions, &name);
        let websocket_api = self.read_api(&mut table);
        let http_routes = table.children("http_routes", &mut self.errors);
        let http_apis = self.read_http_routes(http_routes);
        let tables = table.children("tables", &mut self.errors);
        let tables = self.read_tables(tables);
        table.finish(&mut self.errors);
        if websocket_api.is_none() && http_apis.is_empty() {
            let fix = "add a table [routes] with an entry such as \"$default\" = \"my_function\"";
            self.errors.add(Position::default(), "the file has no routes", fix);
        }
        Application {
            name,
            template: self.path.clone(),
            websocket_api,
            http_apis,
            functions: std::mem::take(&mut self.functions),
            tables,
            findings: Vec::new(),
        }
    }

    fn directory_name(&self) -> String {
        self.directory.file_name().map_or_else(|| "application".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Checks that a function exists.
    fn check_function(&mut self, element: &str, function: &str, position: Position) {
        if self.functions.contains_key(function) {
            return;
        }
        let fix = match nearest_name(function, self.functions.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("add a table [functions.{function}]"),
        };
        self.errors.add(position, format!("{element} names the function {function}, which does not exist"), fix);
    }

    /// Returns an absolute path.
    fn absolute(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }
}

/// Returns the location of an entry.
fn location(table: &str, entry: &TableEntry) -> SourceLocation {
    SourceLocation { element: format!("{table}.{}", entry.key), line: entry.key_position.line }
}
