//! Events of SAM functions: `HttpApi` and `Api`; others are findings.

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::{DocumentNode, TableEntry};
use crate::model::{HttpApiResource, HttpPayload, HttpRouteResource, Severity, SourceLocation};

/// APIs that SAM generates for events without `ApiId` or `RestApiId`.
const IMPLICIT_HTTP_API: &str = "ServerlessHttpApi";
const IMPLICIT_REST_API: &str = "ServerlessRestApi";

impl<'a> TemplateReader<'a> {
    /// Returns the APIs of all HTTP events, in the order of their first event.
    pub(super) fn read_event_apis(&mut self) -> Vec<HttpApiResource> {
        let mut apis: Vec<HttpApiResource> = Vec::new();
        for function in self.active(&["AWS::Serverless::Function"]) {
            for entry in function.property("Events").map_or(&[][..], DocumentNode::entries) {
                let Some((api, route)) = self.read_event(&function, entry) else { continue };
                match apis.iter_mut().find(|known| known.logical_id == api) {
                    Some(known) => known.routes.push(route),
                    None => {
                        let api = self.event_api(&api, route);
                        apis.push(api);
                    }
                }
            }
        }
        apis
    }

    fn event_api(&mut self, logical_id: &str, route: HttpRouteResource) -> HttpApiResource {
        let resource = self.template.resources.get(logical_id).copied();
        let stage = resource.and_then(|resource| self.text(&resource, "StageName"));
        if let Some(resource) = resource {
            self.report_api_security(&resource);
        }
        let is_rest = route.payload == HttpPayload::V1;
        let assumed = if is_rest { "Prod" } else { "$default" };
        HttpApiResource {
            logical_id: logical_id.to_owned(),
            stage: stage.unwrap_or_else(|| assumed.to_owned()),
            location: resource.map_or_else(|| route.location.clone(), |resource| resource.location()),
            routes: vec![route],
        }
    }

    /// Returns the logical id of the API and the route.
    fn read_event(&mut self, function: &Resource<'a>, entry: &'a TableEntry) -> Option<(String, HttpRouteResource)> {
        let element = format!("Resources.{}.Properties.Events.{}", function.logical_id, entry.key);
        let location = SourceLocation { element, line: entry.key_position.line };
        let kind = entry.node.get("Type").and_then(DocumentNode::as_text).unwrap_or_default();
        let is_rest = match kind {
            "HttpApi" => false,
            "Api" => true,
            _ => {
                let message = format!(
                    "the event {} of the function {} has the type {kind}; the function does not get these events",
                    entry.key, function.logical_id
                );
                self.report(Severity::Warning, location, message);
                return None;
            }
        };
        let properties = match entry.node.get("Properties") {
            Some(node) => self.evaluate(node, location.clone()).unwrap_or_else(|| node.clone()),
            None => DocumentNode::new(crate::document::NodeValue::Table(Vec::new()), entry.key_position),
        };
        let text = |name: &str| properties.get(name).and_then(DocumentNode::scalar);
        let api = self.event_api_id(&entry.node, is_rest);
        self.report_event_security(&api, &properties, is_rest, &location);
        let method = text("Method").unwrap_or_else(|| "ANY".to_owned()).to_ascii_uppercase();
        let route = HttpRouteResource {
            method: if method == "X-AMAZON-APIGATEWAY-ANY-METHOD" { "ANY".to_owned() } else { method },
            path: text("Path").unwrap_or_else(|| "$default".to_owned()),
            function: function.logical_id.to_owned(),
            payload: match (is_rest, text("PayloadFormatVersion").as_deref()) {
                (true, _) | (false, Some("1.0")) => HttpPayload::V1,
                (false, _) => HttpPayload::V2,
            },
            location,
        };
        Some((api, route))
    }

    /// Returns the logical id in `ApiId: !Ref NAME`, or that of the implicit API.
    fn event_api_id(&self, event: &DocumentNode, is_rest: bool) -> String {
        let (property, implicit) =
            if is_rest { ("RestApiId", IMPLICIT_REST_API) } else { ("ApiId", IMPLICIT_HTTP_API) };
        let node = event.get("Properties").and_then(|properties| properties.get(property));
        let name = node.and_then(|node| node.get("Ref").unwrap_or(node).scalar());
        name.unwrap_or_else(|| implicit.to_owned())
    }

    /// Reports authorizers of an event, also those that its API applies to all events.
    fn report_event_security(
        &mut self,
        api: &str,
        properties: &DocumentNode,
        is_rest: bool,
        location: &SourceLocation,
    ) {
        let section = if is_rest { "Api" } else { "HttpApi" };
        let resource = self.template.resources.get(api);
        let api_auth = resource.and_then(|api| api.property("Auth"));
        let api_auth = api_auth.or_else(|| self.template.globals(section)?.get("Auth"));
        let default = api_auth.and_then(|auth| auth.get("DefaultAuthorizer")).and_then(DocumentNode::scalar);
        let own = properties.get("Auth").and_then(|auth| auth.get("Authorizer")).and_then(DocumentNode::scalar);
        let authorizer = own.or(default).filter(|name| name != "NONE");
        let key_required =
            [properties.get("Auth"), api_auth].into_iter().flatten().find_map(|auth| auth.get("ApiKeyRequired"));
        let route = location.element.rsplit('.').next().unwrap_or_default().to_owned();
        if let Some(authorizer) = authorizer {
            self.report_http_authorization(&route, &authorizer, location.clone());
        }
        if key_required.and_then(DocumentNode::boolean).unwrap_or_default() {
            self.report_http_authorization(&route, "ApiKeyRequired", location.clone());
        }
        if properties.get("Auth").is_some_and(|auth| auth.get("ResourcePolicy").is_some()) {
            self.report_http_authorization(&route, "ResourcePolicy", location.clone());
        }
    }

    /// Reports settings of an API that restrict access.
    fn report_api_security(&mut self, api: &Resource<'a>) {
        let has_policy = api.property("Auth").is_some_and(|auth| auth.get("ResourcePolicy").is_some());
        if has_policy {
            let message = format!(
                "the resource policy of the API {} is not checked; restrict access in the ingress",
                api.logical_id
            );
            self.report(Severity::Security, api.property_location("Auth"), message);
        }
        if let Some(domain) = api.property("Domain") {
            let _ = self.sam_base_paths(api, Some(domain));
        }
        for (property, reason) in [
            ("DefinitionBody", "routes of an OpenAPI document are not read; write events of functions"),
            ("DefinitionUri", "routes of an OpenAPI document are not read; write events of functions"),
        ] {
            if api.property(property).is_some() {
                let message = format!("{property} of the API {}: {reason}", api.logical_id);
                self.report(Severity::Warning, api.property_location(property), message);
            }
        }
    }
}
