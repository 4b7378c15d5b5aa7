//! `websocket` events: routes, integrations, authorizers of the API `WebsocketsApi`.

use super::names::{function_id, normalized};
use super::{TemplateGenerator, arn_of, entry, reference};
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};

/// Logical id of the framework.
const API: &str = "WebsocketsApi";

/// Defaults of the framework.
const DEFAULT_SELECTION: &str = "$request.body.action";
const DEFAULT_IDENTITY_SOURCE: &str = "route.request.header.Auth";

impl TemplateGenerator<'_, '_> {
    /// Adds the route of an event: `websocket: KEY`, or a table with `route`.
    pub(super) fn add_websocket_route(&mut self, function: &TableEntry, settings: &DocumentNode) {
        let at = settings.position;
        let key = settings.scalar().or_else(|| settings.get("route")?.scalar()).unwrap_or_default();
        let base = normalized(&key.replace('$', "S"));
        let (route, integration) =
            (format!("{base}WebsocketsRoute"), format!("{}WebsocketsIntegration", normalized(&function.key)));
        self.add_integration(&integration, &function_id(&function.key), at);
        let target =
            DocumentNode::single("Fn::Sub", DocumentNode::text(format!("integrations/${{{integration}}}"), at));
        let mut properties = vec![
            entry("ApiId", reference(API, at)),
            entry("RouteKey", DocumentNode::text(key, at)),
            entry("Target", target),
        ];
        if let Some(authorizer) = settings.get("authorizer").filter(|node| !node.is_null()) {
            properties.extend(self.authorization(authorizer));
        }
        let expression = settings.get("routeResponseSelectionExpression").filter(|node| !node.is_null());
        if let Some(expression) = expression {
            properties.push(entry("RouteResponseSelectionExpression", expression.clone()));
            let response = vec![
                entry("ApiId", reference(API, at)),
                entry("RouteId", reference(&route, at)),
                entry("RouteResponseKey", DocumentNode::text("$default", at)),
            ];
            self.add(format!("{route}Response"), "AWS::ApiGatewayV2::RouteResponse", response, at);
        }
        let has_same_route = self.resources.iter().any(|resource| resource.key == route);
        // A second route with the key keeps an id of its own, so that the template reader reports it.
        let route = if has_same_route { format!("{route}{}", self.resources.len()) } else { route };
        self.add(route, "AWS::ApiGatewayV2::Route", properties, at);
    }

    fn add_integration(&mut self, integration: &str, function: &str, at: Position) {
        if self.resources.iter().any(|resource| resource.key == integration) {
            return;
        }
        let properties = vec![
            entry("ApiId", reference(API, at)),
            entry("IntegrationType", DocumentNode::text("AWS_PROXY", at)),
            entry("IntegrationUri", arn_of(function, at)),
        ];
        self.add(integration.to_owned(), "AWS::ApiGatewayV2::Integration", properties, at);
    }

    /// Returns the authorization of a route: `aws_iam`, the name of a function, an ARN, or a table with these.
    fn authorization(&mut self, authorizer: &DocumentNode) -> Vec<TableEntry> {
        let at = authorizer.position;
        let kind = |kind: &str| entry("AuthorizationType", DocumentNode::text(kind, at));
        let name = authorizer.scalar().or_else(|| authorizer.get("name")?.scalar());
        if name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("aws_iam")) {
            return vec![kind("AWS_IAM")];
        }
        let named = name.as_deref().and_then(|name| self.known_function(name));
        let uri = match (authorizer.get("arn"), named) {
            (Some(arn), _) => arn.clone(),
            (None, Some(function)) => arn_of(&function, at),
            (None, None) => DocumentNode::text(name.clone().unwrap_or_default(), at),
        };
        let name = name.or_else(|| uri.scalar()).unwrap_or_else(|| "custom".to_owned());
        let id = Self::authorizer_id(name.rsplit(':').next().unwrap_or_default());
        let default = DocumentNode::new(NodeValue::List(vec![DocumentNode::text(DEFAULT_IDENTITY_SOURCE, at)]), at);
        let sources = authorizer.get("identitySource").filter(|node| !node.is_null()).cloned().unwrap_or(default);
        let properties = vec![
            entry("ApiId", reference(API, at)),
            entry("AuthorizerType", DocumentNode::text("REQUEST", at)),
            entry("AuthorizerUri", uri),
            entry("IdentitySource", sources),
        ];
        let result = vec![kind("CUSTOM"), entry("AuthorizerId", reference(&id, at))];
        if !self.resources.iter().any(|resource| resource.key == id) {
            self.add(id, "AWS::ApiGatewayV2::Authorizer", properties, at);
        }
        result
    }

    /// Adds API and stage if the service has WebSocket routes.
    pub(super) fn finish_websocket_api(&mut self) {
        let first = self.resources.iter().find(|resource| resource.key.contains("WebsocketsRoute"));
        let Some(at) = first.map(|resource| resource.key_position) else { return };
        let selection = self.provider.get("websocketsApiRouteSelectionExpression").cloned();
        let properties = vec![
            entry("ProtocolType", DocumentNode::text("WEBSOCKET", at)),
            entry("RouteSelectionExpression", selection.unwrap_or_else(|| DocumentNode::text(DEFAULT_SELECTION, at))),
        ];
        self.add(API.to_owned(), "AWS::ApiGatewayV2::Api", properties, at);
        let mut stage =
            vec![entry("ApiId", reference(API, at)), entry("StageName", DocumentNode::text(self.stage.as_str(), at))];
        let logs = self.provider.get("logs").and_then(|logs| logs.get("websocket"));
        let format = logs.and_then(|logs| logs.get("format")).cloned();
        stage.extend(format.map(|format| entry("AccessLogSettings", DocumentNode::single("Format", format))));
        self.add("WebsocketsDeploymentStage".to_owned(), "AWS::ApiGatewayV2::Stage", stage, at);
    }
}
