//! The table `http_routes`: method and path with a function.

use super::{RoutesFileReader, location};
use crate::document::table::TableReader;
use crate::document::{NodeValue, TableEntry};
use crate::model::{HttpApiResource, HttpPayload, HttpRouteResource};

const METHODS: [&str; 8] = ["ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

impl RoutesFileReader<'_> {
    /// Returns one HTTP API, or none without routes.
    pub(super) fn read_http_routes(&mut self, entries: &[TableEntry]) -> Vec<HttpApiResource> {
        let Some(first) = entries.first() else { return Vec::new() };
        let mut location = location("http_routes", first);
        location.element = "http_routes".to_owned();
        let routes = entries.iter().map(|entry| self.read_http_route(entry)).collect();
        vec![HttpApiResource { logical_id: "http".to_owned(), stage: "$default".to_owned(), routes, location }]
    }

    fn read_http_route(&mut self, entry: &TableEntry) -> HttpRouteResource {
        let (method, path) = split_route_key(&entry.key).unwrap_or_else(|| {
            let fix = format!("write \"GET /path\" with one of {}, or \"$default\"", METHODS.join(", "));
            self.errors.add(entry.key_position, format!("\"{}\" is not an HTTP route", entry.key), fix);
            ("ANY".to_owned(), "$default".to_owned())
        });
        let location = location("http_routes", entry);
        let (function, payload) = if let NodeValue::Text(function) = &entry.node.value {
            (function.clone(), HttpPayload::V2)
        } else {
            let mut table = TableReader::new(location.element.clone(), &entry.node, &mut self.errors);
            let function = table.text("function", &mut self.errors).unwrap_or_default();
            let payload =
                table.read("payload", "\"1.0\" or \"2.0\"", &mut self.errors, |node| match node.as_text()? {
                    "1.0" => Some(HttpPayload::V1),
                    "2.0" => Some(HttpPayload::V2),
                    _ => None,
                });
            table.finish(&mut self.errors);
            (function, payload.unwrap_or(HttpPayload::V2))
        };
        self.check_function(&location.element, &function, entry.node.position);
        HttpRouteResource { method, path, function, payload, location }
    }
}

/// Splits `GET /rooms/{id}`; `$default` is a route of all methods.
pub(crate) fn split_route_key(key: &str) -> Option<(String, String)> {
    if key == "$default" {
        return Some(("ANY".to_owned(), key.to_owned()));
    }
    let (method, path) = key.split_once(' ')?;
    let method = method.to_ascii_uppercase();
    let valid = METHODS.contains(&method.as_str()) && path.starts_with('/');
    valid.then(|| (method, path.trim().to_owned()))
}
