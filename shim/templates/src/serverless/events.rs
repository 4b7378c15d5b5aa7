//! Events of functions: `httpApi` and `http` become events of SAM, `websocket` routes, others findings.

use super::{TemplateGenerator, entry, reference};
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};

/// Logical ids of the framework.
const HTTP_API: &str = "HttpApi";
const REST_API: &str = "ApiGatewayRestApi";

impl TemplateGenerator<'_, '_> {
    /// Returns the events of a function for `AWS::Serverless::Function`.
    pub(super) fn events(&mut self, function: &TableEntry) -> Vec<TableEntry> {
        let mut events = Vec::new();
        for (index, event) in function.node.get("events").map_or(&[][..], DocumentNode::items).iter().enumerate() {
            // An event is a table with one key, or only a name.
            let name = event.as_text().map(str::to_owned).or_else(|| event.entries().first().map(|e| e.key.clone()));
            let Some(name) = name else { continue };
            let empty = DocumentNode::new(NodeValue::Null, event.position);
            let settings = event.get(&name).unwrap_or(&empty).clone();
            let converted = match name.as_str() {
                "websocket" => {
                    self.add_websocket_route(function, &settings);
                    continue;
                }
                "httpApi" => self.http_event(&settings, HTTP_API, "HttpApi", "ApiId"),
                "http" => self.http_event(&settings, REST_API, "Api", "RestApiId"),
                _ => vec![entry("Type", DocumentNode::text(name.as_str(), event.position))],
            };
            let node = DocumentNode::new(NodeValue::Table(converted), event.position);
            events.push(TableEntry { key: format!("{name}{index}"), key_position: event.position, node });
        }
        events
    }

    /// Converts `GET /path`, `'*'`, or a table with method and path.
    fn http_event(&mut self, settings: &DocumentNode, api: &str, kind: &str, api_property: &str) -> Vec<TableEntry> {
        let at = settings.position;
        self.add_http_api(api, at);
        let (method, path) = method_and_path(settings);
        let mut properties = vec![entry(api_property, reference(api, at))];
        if path == "*" {
            // The framework's catch-all is the route `$default`.
            properties.push(entry("Path", DocumentNode::text("$default", at)));
        } else {
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            properties.push(entry("Path", DocumentNode::text(path, at)));
        }
        let method = if method == "*" { "ANY".to_owned() } else { method.to_ascii_uppercase() };
        properties.push(entry("Method", DocumentNode::text(method, at)));
        let payload = self.provider.get("httpApi").and_then(|settings| settings.get("payload")).cloned();
        properties.extend(payload.map(|payload| entry("PayloadFormatVersion", payload)));
        let auth = authorization(settings);
        if !auth.is_empty() {
            properties.push(entry("Auth", DocumentNode::new(NodeValue::Table(auth), at)));
        }
        let properties = DocumentNode::new(NodeValue::Table(properties), at);
        vec![entry("Type", DocumentNode::text(kind, at)), entry("Properties", properties)]
    }

    /// Adds the API of the events once.
    fn add_http_api(&mut self, api: &str, at: Position) {
        if self.resources.iter().any(|resource| resource.key == api) {
            return;
        }
        if api == HTTP_API {
            self.add(api.to_owned(), "AWS::Serverless::HttpApi", Vec::new(), at);
            return;
        }
        let mut properties = vec![entry("StageName", DocumentNode::text(self.stage.as_str(), at))];
        let policy = self.provider.get("apiGateway").and_then(|settings| settings.get("resourcePolicy"));
        let policy = policy.or_else(|| self.provider.get("resourcePolicy"));
        properties.extend(policy.map(|policy| entry("Auth", DocumentNode::single("ResourcePolicy", policy.clone()))));
        self.add(api.to_owned(), "AWS::Serverless::Api", properties, at);
    }
}

fn method_and_path(settings: &DocumentNode) -> (String, String) {
    if let Some(text) = settings.as_text() {
        let (method, path) = text.trim().split_once(' ').unwrap_or(("*", text.trim()));
        return (method.to_owned(), path.trim().to_owned());
    }
    let text = |name: &str| settings.get(name).and_then(DocumentNode::scalar);
    (text("method").unwrap_or_else(|| "*".to_owned()), text("path").unwrap_or_else(|| "*".to_owned()))
}

/// Authorizers and required keys, which the template reader reports.
fn authorization(settings: &DocumentNode) -> Vec<TableEntry> {
    let mut auth = Vec::new();
    if let Some(authorizer) = settings.get("authorizer").filter(|node| !node.is_null()) {
        let parts = [authorizer.get("name"), authorizer.get("type"), authorizer.get("arn"), authorizer.get("id")];
        let name = authorizer.scalar().or_else(|| parts.into_iter().flatten().find_map(DocumentNode::scalar));
        let name = name.unwrap_or_else(|| "authorizer".to_owned());
        auth.push(entry("Authorizer", DocumentNode::text(name, authorizer.position)));
    }
    if let Some(private) = settings.get("private") {
        auth.push(entry("ApiKeyRequired", private.clone()));
    }
    auth
}
