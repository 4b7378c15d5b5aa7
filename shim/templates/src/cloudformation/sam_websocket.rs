//! `AWS::Serverless::WebSocketApi` with its globals.

use std::collections::BTreeMap;

use super::reader::{TemplateReader, text_list};
use super::template::{Resource, intrinsic};
use crate::document::{DocumentNode, TableEntry};
use crate::model::{Authorization, Integration, RouteResource, Severity, SourceLocation, WebSocketApiResource};

/// SAM's stage name for WebSocket APIs.
const DEFAULT_STAGE: &str = "default";

impl<'a> TemplateReader<'a> {
    pub(super) fn read_sam_websocket_api(&mut self, api: &Resource<'a>) -> WebSocketApiResource {
        self.check_sam_routes(api);
        let name = self.text(api, "StageName").unwrap_or_else(|| DEFAULT_STAGE.to_owned());
        let sources = [self.template.globals("WebSocketApi"), api.node.get("Properties")];
        let stage = self.stage_settings(api, name, &sources);
        let mut routes = Vec::new();
        for entry in written_routes(api) {
            routes.extend(self.read_sam_route(api, entry, &stage.variables));
        }
        let authorization = self.sam_authorization(api, &routes, &stage.variables);
        if let Some(connect) = routes.iter_mut().find(|route| route.key == "$connect") {
            connect.authorization = authorization;
        }
        let expression = self.sam_text(api, "RouteSelectionExpression");
        WebSocketApiResource {
            logical_id: api.logical_id.to_owned(),
            id: None,
            route_selection_expression: expression.unwrap_or_else(|| {
                let message = format!("the API {} has no RouteSelectionExpression, which SAM requires", api.logical_id);
                self.report(Severity::Error, api.location(), message);
                "$request.body.action".to_owned()
            }),
            api_key_selection_expression: self.sam_text(api, "ApiKeySelectionExpression"),
            stage,
            routes,
            base_paths: self.sam_base_paths(api, self.sam_node(api, "Domain")),
            location: api.location(),
        }
    }

    /// Returns a property as written, or that of `Globals.WebSocketApi`.
    fn sam_node(&self, api: &Resource<'a>, name: &str) -> Option<&'a DocumentNode> {
        api.property(name).or_else(|| self.template.globals("WebSocketApi")?.get(name))
    }

    fn sam_text(&mut self, api: &Resource<'a>, name: &str) -> Option<String> {
        let node = self.sam_node(api, name)?;
        self.evaluate(node, api.property_location(name))?.scalar()
    }

    /// SAM requires routes, and generates a resource for each, so that they cannot be a function.
    fn check_sam_routes(&mut self, api: &Resource<'a>) {
        if written_routes(api).is_empty() {
            let message = format!("the API {} has no table Routes, which SAM requires", api.logical_id);
            self.report(Severity::Error, api.property_location("Routes"), message);
        }
    }

    fn read_sam_route(
        &mut self,
        api: &Resource<'a>,
        entry: &'a TableEntry,
        variables: &BTreeMap<String, String>,
    ) -> Option<RouteResource> {
        let element = format!("Resources.{}.Properties.Routes.{}", api.logical_id, entry.key);
        let location = SourceLocation { element, line: entry.key_position.line };
        let Some(arn) = entry.node.get("FunctionArn") else {
            let message = format!("the route {} has no FunctionArn; add one such as !GetAtt FUNCTION.Arn", entry.key);
            self.report(Severity::Error, location, message);
            return None;
        };
        let arn = self.evaluate(arn, location.clone())?;
        let function = self.function_target(&arn.scalar()?, variables, location.clone(), Severity::Error)?;
        let timeout = self.integration_timeout(api, "IntegrationTimeout", entry.node.get("IntegrationTimeout"));
        let api_key = entry.node.get("ApiKeyRequired").and_then(|node| self.evaluate(node, location.clone()));
        Some(RouteResource {
            key: entry.key.clone(),
            integration: Integration::Lambda { function, timeout },
            authorization: Authorization::None,
            api_key_required: api_key.and_then(|node| node.boolean()).unwrap_or_default(),
            two_way: self.is_sam_two_way(api, entry, &location),
            request_model: self.request_model(api, entry.node.get("RequestModels")),
            required_parameters: self.required_parameters(api, entry.node.get("RequestParameters")),
            location,
        })
    }

    /// SAM sets the expression, but generates no route response: the deployed route is one-way without it.
    fn is_sam_two_way(&mut self, api: &Resource<'a>, entry: &TableEntry, location: &SourceLocation) -> bool {
        if entry.node.get("RouteResponseSelectionExpression").is_none_or(DocumentNode::is_null) {
            return false;
        }
        let route_id = format!("{}{}Route", api.logical_id, capitalized(entry.key.trim_start_matches('$')));
        if !self.has_route_response(&route_id) {
            let message = format!(
                "the route {} sends its response here; at AWS it also needs an AWS::ApiGatewayV2::RouteResponse \
                 with RouteId: !Ref {route_id}, which SAM does not generate",
                entry.key
            );
            self.report(Severity::Warning, location.clone(), message);
        }
        true
    }

    fn sam_authorization(
        &mut self,
        api: &Resource<'a>,
        routes: &[RouteResource],
        variables: &BTreeMap<String, String>,
    ) -> Authorization {
        let location = api.property_location("Auth");
        let Some(node) = api.property("Auth") else { return Authorization::None };
        let Some(auth) = self.evaluate(node, location.clone()) else {
            let message = format!("the Auth of the API {} has no value; it cannot be enforced", api.logical_id);
            self.report(Severity::Security, location, message);
            return Authorization::None;
        };
        let kind = auth.get("AuthType").and_then(DocumentNode::scalar).unwrap_or_default().to_ascii_uppercase();
        if kind != "NONE" && !routes.iter().any(|route| route.key == "$connect") {
            let message = format!("the API {} has Auth, but no route $connect, which it protects", api.logical_id);
            self.report(Severity::Security, location, message);
            return Authorization::None;
        }
        match kind.as_str() {
            "NONE" => Authorization::None,
            "AWS_IAM" => Authorization::Iam,
            "CUSTOM" => self.sam_authorizer(&auth, location, variables),
            _ => {
                let message = format!("the AuthType \"{kind}\" is not NONE, AWS_IAM or CUSTOM; correct it");
                self.report(Severity::Security, location, message);
                Authorization::None
            }
        }
    }

    fn sam_authorizer(
        &mut self,
        auth: &DocumentNode,
        location: SourceLocation,
        variables: &BTreeMap<String, String>,
    ) -> Authorization {
        let arn = auth.get("AuthArn").and_then(DocumentNode::scalar).unwrap_or_default();
        match self.function_target(&arn, variables, location, Severity::Security) {
            Some(function) => {
                let identity_sources = auth.get("IdentitySource").and_then(text_list).unwrap_or_default();
                Authorization::Custom { function, identity_sources }
            }
            None => Authorization::None,
        }
    }
}

/// Returns the routes as written; none if they are a function of the template.
fn written_routes<'a>(api: &Resource<'a>) -> &'a [TableEntry] {
    api.property("Routes").filter(|node| intrinsic(node).is_none()).map_or(&[][..], DocumentNode::entries)
}

/// SAM makes the logical id of a route of its key like this: `sendMessage` becomes `Sendmessage`.
fn capitalized(key: &str) -> String {
    let lower = key.to_ascii_lowercase();
    let mut characters = lower.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}
