//! The WebSocket API of a template: selection, `AWS::ApiGatewayV2::Api`.

use super::reader::TemplateReader;
use super::template::Resource;
use crate::model::{Severity, WebSocketApiResource};

impl<'a> TemplateReader<'a> {
    /// Returns the WebSocket API; further ones are findings.
    pub(super) fn read_websocket_api(&mut self) -> Option<WebSocketApiResource> {
        let api = self.select_websocket_api()?;
        let _ = self.resolver.websocket_api.set(api.logical_id.to_owned());
        let resource = if api.kind == "AWS::Serverless::WebSocketApi" {
            self.read_sam_websocket_api(&api)
        } else {
            self.read_api(&api)
        };
        self.check_routes(&resource);
        Some(resource)
    }

    fn select_websocket_api(&mut self) -> Option<Resource<'a>> {
        let mut apis = self.active(&["AWS::Serverless::WebSocketApi", "AWS::ApiGatewayV2::Api"]);
        apis.retain(|resource| self.resolver.is_websocket(resource));
        let selected = self.resolver.context.websocket_api.as_deref();
        if let Some(selected) = selected {
            let found = apis.iter().find(|api| api.logical_id == selected).copied();
            if found.is_none() {
                let location = apis.first().map(Resource::location).unwrap_or_default();
                let message = format!("the template has no WebSocket API {selected}; select another logical id");
                self.report(Severity::Error, location, message);
            }
            return found;
        }
        if let [first, second, ..] = apis.as_slice() {
            let names: Vec<String> =
                apis.iter().map(|api| format!("{} (line {})", api.logical_id, api.position.line)).collect();
            let message = format!(
                "the template has {} WebSocket APIs: {}; select the one to serve, and start another server for each other",
                apis.len(),
                names.join(", ")
            );
            let (first, location) = (*first, second.location());
            self.report(Severity::Error, location, message);
            return Some(first);
        }
        apis.first().copied()
    }

    fn read_api(&mut self, api: &Resource<'a>) -> WebSocketApiResource {
        let stage = self.read_stage(api);
        let routes = self.read_routes(api, &stage.variables);
        let expression = self.text(api, "RouteSelectionExpression");
        WebSocketApiResource {
            logical_id: api.logical_id.to_owned(),
            id: None,
            route_selection_expression: expression.unwrap_or_else(|| {
                let message =
                    format!("the API {} has no RouteSelectionExpression, which WebSocket APIs need", api.logical_id);
                self.report(Severity::Error, api.location(), message);
                "$request.body.action".to_owned()
            }),
            api_key_selection_expression: self.text(api, "ApiKeySelectionExpression"),
            stage,
            routes,
            base_paths: self.base_paths(api),
            location: api.location(),
        }
    }

    /// An API needs routes, and one route per key.
    fn check_routes(&mut self, api: &WebSocketApiResource) {
        if api.routes.is_empty() {
            let message = format!("the WebSocket API {} has no routes that can be served", api.logical_id);
            self.report(Severity::Error, api.location.clone(), message);
        }
        for (index, route) in api.routes.iter().enumerate() {
            if let Some(first) = api.routes[..index].iter().find(|other| other.key == route.key) {
                let message =
                    format!("the route key {} is there twice; the first is in line {}", route.key, first.location.line);
                self.report(Severity::Error, route.location.clone(), message);
            }
        }
    }
}
