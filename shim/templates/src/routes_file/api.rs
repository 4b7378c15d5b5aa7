//! The tables `api`, `authorizer` and `routes`.

use std::collections::BTreeMap;

use super::{DEFAULT_STAGE, RoutesFileReader};
use crate::document::DocumentNode;
use crate::document::table::TableReader;
use crate::model::{Authorization, SourceLocation, StageResource, Throttle, WebSocketApiResource};

/// Default of API Gateway's console and of the SAM and CDK examples.
const DEFAULT_SELECTION: &str = "$request.body.action";

impl RoutesFileReader<'_> {
    /// Returns `None` if the file has none of the tables.
    pub(super) fn read_api(&mut self, document: &mut TableReader<'_>) -> Option<WebSocketApiResource> {
        let api_node = document.node("api");
        let authorizer_node = document.node("authorizer");
        let routes_node = document.node("routes");
        let location = api_node.or(authorizer_node).or(routes_node)?.position;
        let empty = DocumentNode::new(crate::document::NodeValue::Table(Vec::new()), location);
        let mut table = TableReader::new("api", api_node.unwrap_or(&empty), &mut self.errors);
        let authorization = self.read_authorization(&mut table, authorizer_node);
        let mut api = self.read_api_table(&mut table);
        table.finish(&mut self.errors);
        let (routes, route_throttles) = self.read_routes(routes_node.unwrap_or(&empty), &authorization);
        if routes.is_empty() {
            let fix = "add a table [routes] with an entry such as \"$default\" = \"my_function\"";
            self.errors.add(location, "the API has no routes", fix);
        }
        api.routes = routes;
        api.stage.route_throttles = route_throttles;
        api.location = SourceLocation { element: "api".to_owned(), line: location.line };
        Some(api)
    }

    fn read_api_table(&mut self, table: &mut TableReader<'_>) -> WebSocketApiResource {
        let errors = &mut self.errors;
        WebSocketApiResource {
            logical_id: "api".to_owned(),
            id: table.read("id", "a text without spaces and slashes", errors, api_id),
            route_selection_expression: table.text("selection", errors).unwrap_or_else(|| DEFAULT_SELECTION.to_owned()),
            api_key_selection_expression: table.text("api_key_selection", errors),
            stage: StageResource {
                name: table.text("stage", errors).unwrap_or_else(|| DEFAULT_STAGE.to_owned()),
                variables: table.texts("stage_variables", errors),
                default_throttle: self.read_throttle(table),
                route_throttles: BTreeMap::new(),
                access_log_format: table.text("access_log_format", &mut self.errors),
            },
            routes: Vec::new(),
            base_paths: table.list("base_paths", &mut self.errors).unwrap_or_default(),
            location: SourceLocation::default(),
        }
    }

    /// Reads `api.authorization` and the table `authorizer`, which exclude each other.
    fn read_authorization(&mut self, api: &mut TableReader<'_>, authorizer: Option<&DocumentNode>) -> Authorization {
        let expected = "\"NONE\" or \"AWS_IAM\"; a Lambda authorizer has the table [authorizer]";
        let mode = api.read("authorization", expected, &mut self.errors, |node| match node.as_text()? {
            "NONE" => Some(Authorization::None),
            "AWS_IAM" => Some(Authorization::Iam),
            _ => None,
        });
        let Some(node) = authorizer else { return mode.unwrap_or(Authorization::None) };
        if mode.is_some() {
            let message = "the file has both api.authorization and [authorizer]";
            self.errors.add(node.position, message, "remove one of them: $connect has one authorization");
        }
        let mut table = TableReader::new("authorizer", node, &mut self.errors);
        let position = table.node("function").map_or(node.position, |function| function.position);
        let function = table.text("function", &mut self.errors).unwrap_or_default();
        let identity_sources = table.list("identity_sources", &mut self.errors).unwrap_or_default();
        table.finish(&mut self.errors);
        self.check_function("authorizer.function", &function, position);
        Authorization::Custom { function, identity_sources }
    }

    /// Reads `throttle = { rate = 100, burst = 200 }`.
    pub(super) fn read_throttle(&mut self, table: &mut TableReader<'_>) -> Option<Throttle> {
        let node = table.node("throttle")?;
        let mut throttle = TableReader::new(table.name("throttle"), node, &mut self.errors);
        let rate = throttle.read("rate", "requests per second, 0 or more", &mut self.errors, |node| {
            node.number().filter(|rate| *rate >= 0.0)
        });
        let burst = throttle.read("burst", "a number of requests, 0 or more", &mut self.errors, |node| {
            u32::try_from(node.whole_number()?).ok()
        });
        throttle.finish(&mut self.errors);
        if let (Some(rate), Some(burst)) = (rate, burst) {
            return Some(Throttle { rate, burst });
        }
        if throttle_is_incomplete(node) {
            let message = format!("{} needs rate and burst", table.name("throttle"));
            self.errors.add(node.position, message, "write throttle = { rate = 100, burst = 200 }");
        }
        None
    }
}

fn throttle_is_incomplete(node: &DocumentNode) -> bool {
    node.is_table() && (node.get("rate").is_none() || node.get("burst").is_none())
}

/// Accepts ids that are one segment of a path and of a host name.
fn api_id(node: &DocumentNode) -> Option<String> {
    let text = node.as_text()?;
    let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    valid.then(|| text.to_owned())
}
