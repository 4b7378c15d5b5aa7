//! The entries of `routes`: key, integration, model, parameters.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::{RoutesFileReader, location};
use crate::document::table::TableReader;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::model::{Authorization, Integration, RouteResource, Throttle};

/// Limits of API Gateway for `TimeoutInMillis`; the upper one is the default.
const INTEGRATION_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(29);

/// Routes with the throttles of their keys.
type RoutesWithThrottles = (Vec<RouteResource>, BTreeMap<String, Throttle>);

impl RoutesFileReader<'_> {
    pub(super) fn read_routes(&mut self, node: &DocumentNode, authorization: &Authorization) -> RoutesWithThrottles {
        let mut throttles = BTreeMap::new();
        let mut routes = Vec::new();
        if !node.is_table() {
            let fix = "write a table [routes]";
            self.errors.add(node.position, format!("routes is {}", node.kind()), fix);
        }
        for entry in node.entries() {
            self.check_route_key(entry);
            let (mut route, throttle) = self.read_route(entry);
            if entry.key == "$connect" {
                route.authorization = authorization.clone();
            }
            throttles.extend(throttle.map(|throttle| (entry.key.clone(), throttle)));
            routes.push(route);
        }
        let authorized = routes.iter().any(|route| route.key == "$connect") || *authorization == Authorization::None;
        if !authorized {
            let message = "the file has an authorization, but no route $connect, which it protects";
            self.errors.add(node.position, message, "add \"$connect\" to [routes], also as { mock = {} }");
        }
        (routes, throttles)
    }

    fn check_route_key(&mut self, entry: &TableEntry) {
        let known = ["$connect", "$disconnect", "$default"];
        if entry.key.is_empty() || (entry.key.starts_with('$') && !known.contains(&entry.key.as_str())) {
            let message = format!("\"{}\" is not a route key", entry.key);
            let fix = "keys with $ are $connect, $disconnect and $default; all others are values of the selection";
            self.errors.add(entry.key_position, message, fix);
        }
    }

    fn read_route(&mut self, entry: &TableEntry) -> (RouteResource, Option<Throttle>) {
        let mut route = RouteResource {
            key: entry.key.clone(),
            integration: Integration::Lambda { function: String::new(), timeout: *INTEGRATION_TIMEOUT.end() },
            authorization: Authorization::None,
            api_key_required: false,
            two_way: false,
            request_model: None,
            required_parameters: Vec::new(),
            location: location("routes", entry),
        };
        if let NodeValue::Text(function) = &entry.node.value {
            self.check_function(&route.location.element, function, entry.node.position);
            route.integration = Integration::Lambda { function: function.clone(), timeout: *INTEGRATION_TIMEOUT.end() };
            return (route, None);
        }
        let mut table = TableReader::new(route.location.element.clone(), &entry.node, &mut self.errors);
        route.integration = self.read_integration(&mut table, entry.key_position);
        route.two_way = table.flag("two_way", &mut self.errors);
        route.api_key_required = table.flag("api_key_required", &mut self.errors);
        route.request_model = self.read_model(&mut table);
        route.required_parameters = self.read_parameters(&mut table);
        let throttle = self.read_throttle(&mut table);
        table.finish(&mut self.errors);
        (route, throttle)
    }

    /// Reads exactly one of `function`, `http_proxy` and `mock`.
    fn read_integration(&mut self, table: &mut TableReader<'_>, position: Position) -> Integration {
        let timeout = table.duration("timeout", INTEGRATION_TIMEOUT, &mut self.errors);
        let timeout = timeout.unwrap_or(*INTEGRATION_TIMEOUT.end());
        let function_node = table.node("function");
        let function = table.text("function", &mut self.errors);
        let (http_proxy, mock) = (table.node("http_proxy"), table.node("mock"));
        let given = [function_node, http_proxy, mock].into_iter().flatten().count();
        if given != 1 {
            let message = format!("{} has {given} integrations", table.path());
            self.errors.add(position, message, "write one of function, http_proxy and mock");
        }
        if let Some(node) = http_proxy {
            return self.read_http_proxy(table, node, timeout);
        }
        if let Some(node) = mock {
            return self.read_mock(table, node);
        }
        let function = function.unwrap_or_default();
        if let Some(node) = function_node {
            self.check_function(&table.name("function"), &function, node.position);
        }
        Integration::Lambda { function, timeout }
    }

    fn read_http_proxy(&mut self, route: &TableReader<'_>, node: &DocumentNode, timeout: Duration) -> Integration {
        let mut table = TableReader::new(route.name("http_proxy"), node, &mut self.errors);
        let uri = table.read("uri", "a URI that starts with http:// or https://", &mut self.errors, |node| {
            node.as_text().filter(|uri| uri.starts_with("http://") || uri.starts_with("https://")).map(str::to_owned)
        });
        if node.is_table() && node.get("uri").is_none() {
            let name = table.path();
            self.errors.add(node.position, format!("{name} has no uri"), "write uri = \"http://host:port/path\"");
        }
        let integration = Integration::HttpProxy {
            method: table.text("method", &mut self.errors).unwrap_or_else(|| "POST".to_owned()).to_ascii_uppercase(),
            uri: uri.unwrap_or_default(),
            request_parameters: table.texts("request_parameters", &mut self.errors),
            timeout,
        };
        table.finish(&mut self.errors);
        integration
    }

    fn read_mock(&mut self, route: &TableReader<'_>, node: &DocumentNode) -> Integration {
        let mut table = TableReader::new(route.name("mock"), node, &mut self.errors);
        let integration = Integration::Mock {
            request_templates: table.texts("request_templates", &mut self.errors),
            template_selection: table.text("template_selection", &mut self.errors),
            response_templates: table.texts("response_templates", &mut self.errors),
        };
        table.finish(&mut self.errors);
        integration
    }

    /// Reads parameters such as `route.request.querystring.room`; `querystring.room` is short for it.
    fn read_parameters(&mut self, table: &mut TableReader<'_>) -> Vec<String> {
        let Some(node) = table.node("required_parameters") else { return Vec::new() };
        let mut parameters = table.list("required_parameters", &mut self.errors).unwrap_or_default();
        for parameter in &mut parameters {
            let short = parameter.strip_prefix("route.request.").unwrap_or(parameter);
            let valid = short.split_once('.').is_some_and(|(place, name)| {
                matches!(place, "header" | "querystring" | "multivalueheader" | "multivaluequerystring")
                    && !name.is_empty()
            });
            if !valid {
                let fix = "write route.request.header.NAME or route.request.querystring.NAME";
                self.errors.add(
                    node.position,
                    format!("{} has \"{parameter}\"", table.name("required_parameters")),
                    fix,
                );
            }
            *parameter = format!("route.request.{short}");
        }
        parameters
    }

    /// Reads a JSON schema: a table, a text with JSON, or the path of a file.
    fn read_model(&mut self, table: &mut TableReader<'_>) -> Option<Value> {
        let node = table.node("request_model")?;
        let NodeValue::Text(text) = &node.value else {
            return table.read("request_model", "the path of a JSON schema, or a table", &mut self.errors, |node| {
                node.is_table().then(|| node.to_json())
            });
        };
        let (source, json) = if text.trim_start().starts_with('{') {
            ("its text".to_owned(), text.clone())
        } else {
            let path = self.absolute(text);
            match std::fs::read_to_string(&path) {
                Ok(json) => (path.display().to_string(), json),
                Err(error) => {
                    let message = format!("{}: cannot read {}: {error}", table.name("request_model"), path.display());
                    self.errors.add(node.position, message, "write the path of a JSON schema, relative to this file");
                    return None;
                }
            }
        };
        let parsed = serde_json::from_str(&json);
        if let Err(error) = &parsed {
            let message = format!("{}: {source} is not JSON: {error}", table.name("request_model"));
            self.errors.add(node.position, message, "correct the JSON schema");
        }
        parsed.ok()
    }
}
