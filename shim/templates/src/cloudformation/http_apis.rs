//! HTTP APIs: `AWS::ApiGatewayV2::Api` with routes, and the APIs that events of SAM functions use.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::model::{HttpApiResource, HttpPayload, HttpRouteResource, Severity, SourceLocation};
use crate::routes_file::split_route_key;

impl<'a> TemplateReader<'a> {
    pub(super) fn read_http_apis(&mut self) -> Vec<HttpApiResource> {
        let mut apis = self.active(&["AWS::ApiGatewayV2::Api"]);
        apis.retain(|api| self.resolver.protocol(api) == "HTTP");
        let mut found: Vec<HttpApiResource> = apis.iter().map(|api| self.read_http_api(api)).collect();
        found.extend(self.read_event_apis());
        found.retain(|api| !api.routes.is_empty());
        found
    }

    fn read_http_api(&mut self, api: &Resource<'a>) -> HttpApiResource {
        self.report_http_settings(api);
        let stages = self.parts_of(api, "AWS::ApiGatewayV2::Stage");
        let stage = stages.first().and_then(|stage| self.text(stage, "StageName"));
        let mut routes: Vec<HttpRouteResource> = Vec::new();
        routes.extend(self.quick_create_route(api));
        for route in self.parts_of(api, "AWS::ApiGatewayV2::Route") {
            routes.extend(self.read_http_route(&route));
        }
        HttpApiResource {
            logical_id: api.logical_id.to_owned(),
            stage: stage.unwrap_or_else(|| "$default".to_owned()),
            routes,
            location: api.location(),
        }
    }

    /// Settings of an HTTP API that the server does not have.
    fn report_http_settings(&mut self, api: &Resource<'a>) {
        for (property, reason) in [
            ("Body", "routes of an OpenAPI document are not read; write them as resources"),
            ("BodyS3Location", "routes of an OpenAPI document are not read; write them as resources"),
            ("CorsConfiguration", "CORS answers are not added; answer OPTIONS in a function or in the ingress"),
        ] {
            if api.property(property).is_some() {
                let message = format!("{property} of the HTTP API {}: {reason}", api.logical_id);
                self.report(Severity::Warning, api.property_location(property), message);
            }
        }
    }

    /// `Target` of an API is short for one route with payload 2.0.
    fn quick_create_route(&mut self, api: &Resource<'a>) -> Option<HttpRouteResource> {
        let target = self.text(api, "Target")?;
        let location = api.property_location("Target");
        let function = self.function_target(&target, &BTreeMap::new(), location.clone(), Severity::Error)?;
        let key = self.text(api, "RouteKey").unwrap_or_else(|| "$default".to_owned());
        self.http_route(&key, function, HttpPayload::V2, location)
    }

    fn read_http_route(&mut self, route: &Resource<'a>) -> Option<HttpRouteResource> {
        let key = self.text(route, "RouteKey")?;
        let kind = self.text(route, "AuthorizationType").unwrap_or_else(|| "NONE".to_owned());
        if kind != "NONE" {
            self.report_http_authorization(&key, &kind, route.property_location("AuthorizationType"));
        }
        let target = self.text(route, "Target")?;
        let name = target.strip_prefix("integrations/").unwrap_or(&target);
        let integration = self.template.resources.get(name).copied();
        let Some(integration) = integration.filter(|found| found.kind == "AWS::ApiGatewayV2::Integration") else {
            let message = format!("the Target {target} of the route {key} is no integration of the template");
            self.report(Severity::Error, route.property_location("Target"), message);
            return None;
        };
        let kind = self.text(&integration, "IntegrationType").unwrap_or_default();
        if kind != "AWS_PROXY" || integration.property("IntegrationSubtype").is_some() {
            let message =
                format!("the HTTP route {key} has an integration of type {kind}, which is not served; use a function");
            self.report(Severity::Warning, integration.property_location("IntegrationType"), message);
            return None;
        }
        let uri = self.text(&integration, "IntegrationUri")?;
        let location = integration.property_location("IntegrationUri");
        let function = self.function_target(&uri, &BTreeMap::new(), location, Severity::Error)?;
        let payload = match self.text(&integration, "PayloadFormatVersion").as_deref() {
            Some("2.0") => HttpPayload::V2,
            _ => HttpPayload::V1,
        };
        self.http_route(&key, function, payload, route.location())
    }

    pub(super) fn report_http_authorization(&mut self, route: &str, kind: &str, location: SourceLocation) {
        let message = format!(
            "the HTTP route {route} has the authorization {kind}, which is not checked; check it in the function or in the ingress"
        );
        self.report(Severity::Security, location, message);
    }

    /// Converts a route key such as `GET /rooms`.
    fn http_route(
        &mut self,
        key: &str,
        function: String,
        payload: HttpPayload,
        location: SourceLocation,
    ) -> Option<HttpRouteResource> {
        let Some((method, path)) = split_route_key(key) else {
            let message = format!("\"{key}\" is not the key of an HTTP route; write METHOD /path or $default");
            self.report(Severity::Error, location, message);
            return None;
        };
        Some(HttpRouteResource { method, path, function, payload, location })
    }
}
