//! Routes of `AWS::ApiGatewayV2::Route` with their responses.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{RouteResource, Severity};

impl<'a> TemplateReader<'a> {
    pub(super) fn read_routes(
        &mut self,
        api: &Resource<'a>,
        variables: &BTreeMap<String, String>,
    ) -> Vec<RouteResource> {
        let routes = self.parts_of(api, "AWS::ApiGatewayV2::Route");
        routes.iter().filter_map(|route| self.read_route(route, variables)).collect()
    }

    /// Returns the active resources of a type that belong to an API.
    pub(super) fn parts_of(&mut self, api: &Resource<'a>, kind: &str) -> Vec<Resource<'a>> {
        let api_id = self.resolver.api_id(api);
        let mut parts = self.active(&[kind]);
        parts.retain(|part| self.text(part, "ApiId").is_some_and(|id| id == api_id));
        parts
    }

    fn read_route(&mut self, route: &Resource<'a>, variables: &BTreeMap<String, String>) -> Option<RouteResource> {
        let key = self.text(route, "RouteKey")?;
        let integration = self.route_integration(route, &key, variables)?;
        Some(RouteResource {
            integration,
            authorization: self.route_authorization(route, &key, variables),
            api_key_required: self.flag(route, "ApiKeyRequired"),
            two_way: self.is_two_way(route, &key),
            request_model: self.request_model(route, route.property("RequestModels")),
            required_parameters: self.required_parameters(route, route.property("RequestParameters")),
            location: route.location(),
            key,
        })
    }

    /// Returns the integration that `Target` names.
    fn route_integration(
        &mut self,
        route: &Resource<'a>,
        key: &str,
        variables: &BTreeMap<String, String>,
    ) -> Option<crate::model::Integration> {
        let Some(target) = self.text(route, "Target") else {
            let message = format!("the route {key} has no Target; add integrations/${{INTEGRATION}}");
            self.report(Severity::Error, route.location(), message);
            return None;
        };
        let name = target.strip_prefix("integrations/").unwrap_or(&target);
        let integration = self.template.resources.get(name).copied();
        match integration.filter(|resource| resource.kind == "AWS::ApiGatewayV2::Integration") {
            Some(integration) => self.read_integration(&integration, key, variables),
            None => {
                let message = format!(
                    "the Target {target} of the route {key} is no integration of the template; \
                     write integrations/${{INTEGRATION}} with Fn::Sub"
                );
                self.report(Severity::Error, route.property_location("Target"), message);
                None
            }
        }
    }

    /// A response is sent if the route has a `$default` route response. An AWS sample without selection expression
    /// documents this.
    fn is_two_way(&mut self, route: &Resource<'a>, key: &str) -> bool {
        let has_response = self.has_route_response(route.logical_id);
        if !has_response && self.text(route, "RouteResponseSelectionExpression").is_some() {
            let message = format!(
                "the route {key} has a RouteResponseSelectionExpression, but no AWS::ApiGatewayV2::RouteResponse, \
                 so that no response is sent; add the route response"
            );
            self.report(Severity::Warning, route.location(), message);
        }
        has_response
    }

    /// Returns whether a route response refers to a route, also to one that SAM generates.
    pub(super) fn has_route_response(&mut self, route_id: &str) -> bool {
        let responses = self.active(&["AWS::ApiGatewayV2::RouteResponse"]);
        let generated = format!("{}-{route_id}", self.resolver.stack_name);
        responses.iter().any(|response| {
            let route = self.text(response, "RouteId");
            let key = self.text(response, "RouteResponseKey");
            route.is_some_and(|id| id == route_id || id == generated) && key.is_none_or(|key| key == "$default")
        })
    }

    /// Returns the parameters with `Required: true`.
    pub(super) fn required_parameters(&mut self, owner: &Resource<'a>, node: Option<&'a DocumentNode>) -> Vec<String> {
        let location = owner.property_location("RequestParameters");
        let Some(value) = node.and_then(|node| self.evaluate(node, location)) else { return Vec::new() };
        // SAM accepts a list whose items are names or tables with one name.
        let items = value.items().iter().flat_map(|item| match item.as_text() {
            Some(name) => vec![(name.to_owned(), false)],
            None => constraints(item),
        });
        let all = items.chain(constraints(&value));
        all.filter(|(_, required)| *required).map(|(name, _)| name).collect()
    }
}

/// Returns the parameters of a table with whether they are required: `{Required: true}` or `true`.
fn constraints(node: &DocumentNode) -> Vec<(String, bool)> {
    let required = |node: &DocumentNode| node.get("Required").unwrap_or(node).boolean().unwrap_or_default();
    node.entries().iter().map(|entry| (entry.key.clone(), required(&entry.node))).collect()
}
