//! Conversion of Terraform resources to those of CloudFormation.

mod functions;
mod tables;

use std::path::Path;

use serde_json::Value;

use super::plan::{PlannedResource, TerraformPlan};
use crate::document::json::from_value;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::model::Finding;

/// Attributes of resource types with the properties that they become.
type AttributeMap = &'static [(&'static str, &'static str)];

/// Types that have the same attributes as in CloudFormation.
const CONVERSIONS: &[(&str, &str, AttributeMap)] = &[
    (
        "aws_apigatewayv2_api",
        "AWS::ApiGatewayV2::Api",
        &[
            ("protocol_type", "ProtocolType"),
            ("route_selection_expression", "RouteSelectionExpression"),
            ("api_key_selection_expression", "ApiKeySelectionExpression"),
            ("target", "Target"),
            ("route_key", "RouteKey"),
            ("body", "Body"),
        ],
    ),
    (
        "aws_apigatewayv2_route",
        "AWS::ApiGatewayV2::Route",
        &[
            ("api_id", "ApiId"),
            ("route_key", "RouteKey"),
            ("target", "Target"),
            ("authorization_type", "AuthorizationType"),
            ("authorizer_id", "AuthorizerId"),
            ("api_key_required", "ApiKeyRequired"),
            ("request_models", "RequestModels"),
            ("route_response_selection_expression", "RouteResponseSelectionExpression"),
        ],
    ),
    (
        "aws_apigatewayv2_integration",
        "AWS::ApiGatewayV2::Integration",
        &[
            ("api_id", "ApiId"),
            ("integration_type", "IntegrationType"),
            ("integration_uri", "IntegrationUri"),
            ("integration_method", "IntegrationMethod"),
            ("connection_type", "ConnectionType"),
            ("timeout_milliseconds", "TimeoutInMillis"),
            ("payload_format_version", "PayloadFormatVersion"),
            ("request_parameters", "RequestParameters"),
            ("request_templates", "RequestTemplates"),
            ("template_selection_expression", "TemplateSelectionExpression"),
        ],
    ),
    (
        "aws_apigatewayv2_integration_response",
        "AWS::ApiGatewayV2::IntegrationResponse",
        &[
            ("api_id", "ApiId"),
            ("integration_id", "IntegrationId"),
            ("integration_response_key", "IntegrationResponseKey"),
            ("response_templates", "ResponseTemplates"),
            ("template_selection_expression", "TemplateSelectionExpression"),
        ],
    ),
    (
        "aws_apigatewayv2_route_response",
        "AWS::ApiGatewayV2::RouteResponse",
        &[("api_id", "ApiId"), ("route_id", "RouteId"), ("route_response_key", "RouteResponseKey")],
    ),
    (
        "aws_apigatewayv2_authorizer",
        "AWS::ApiGatewayV2::Authorizer",
        &[
            ("api_id", "ApiId"),
            ("authorizer_type", "AuthorizerType"),
            ("authorizer_uri", "AuthorizerUri"),
            ("identity_sources", "IdentitySource"),
        ],
    ),
    (
        "aws_apigatewayv2_model",
        "AWS::ApiGatewayV2::Model",
        &[("api_id", "ApiId"), ("name", "Name"), ("schema", "Schema")],
    ),
    (
        "aws_apigatewayv2_api_mapping",
        "AWS::ApiGatewayV2::ApiMapping",
        &[("api_id", "ApiId"), ("api_mapping_key", "ApiMappingKey")],
    ),
    ("aws_lambda_alias", "AWS::Lambda::Alias", &[("function_name", "FunctionName"), ("name", "Name")]),
    ("aws_api_gateway_rest_api", "AWS::ApiGateway::RestApi", &[]),
    ("aws_wafv2_web_acl_association", "AWS::WAFv2::WebACLAssociation", &[]),
    ("aws_lambda_event_source_mapping", "AWS::Lambda::EventSourceMapping", &[]),
];

/// Types without effect on a server outside AWS. A name that ends with `_` means all types that start with it.
const WITHOUT_EFFECT: &[&str] = &[
    "archive_",
    "aws_acm_",
    "aws_apigatewayv2_deployment",
    "aws_api_gateway_",
    "aws_appautoscaling_",
    "aws_cloudwatch_",
    "aws_iam_",
    "aws_internet_gateway",
    "aws_kms_",
    "aws_lambda_layer_version_permission",
    "aws_lambda_permission",
    "aws_nat_gateway",
    "aws_route53_",
    "aws_route_table",
    "aws_security_group",
    "aws_subnet",
    "aws_vpc",
    "local_",
    "null_",
    "random_",
    "terraform_data",
    "time_",
    "tls_",
];

/// Returns the resources of a template, and findings of values that are not known.
pub(super) fn convert_resources(plan: &TerraformPlan<'_>, root: &Path) -> (Vec<TableEntry>, Vec<Finding>) {
    let mut converter = ResourceConverter { plan, root, resources: Vec::new(), findings: Vec::new() };
    for resource in &plan.resources {
        converter.convert(resource);
    }
    (converter.resources, converter.findings)
}

struct ResourceConverter<'c> {
    plan: &'c TerraformPlan<'c>,
    root: &'c Path,
    resources: Vec<TableEntry>,
    findings: Vec<Finding>,
}

impl<'c> ResourceConverter<'c> {
    fn convert(&mut self, resource: &PlannedResource<'c>) {
        match resource.kind {
            "aws_lambda_function" => self.convert_function(resource),
            "aws_lambda_layer_version" => self.convert_layer(resource),
            "aws_dynamodb_table" => self.convert_table(resource),
            "aws_apigatewayv2_stage" => self.convert_stage(resource),
            "aws_apigatewayv2_domain_name" => self.convert_domain(resource),
            kind => match CONVERSIONS.iter().find(|(known, ..)| *known == kind) {
                Some((_, target, attributes)) => {
                    let properties = self.properties(resource, attributes);
                    self.add(resource, target, properties);
                }
                None if is_without_effect(kind) => {}
                None => self.add(resource, kind, Vec::new()),
            },
        }
    }

    fn properties(&self, resource: &PlannedResource<'c>, attributes: AttributeMap) -> Vec<TableEntry> {
        attributes
            .iter()
            .filter_map(|(source, target)| Some(entry(target, self.attribute(resource, source)?)))
            .collect()
    }

    /// Returns an attribute: a known value, or a reference of the configuration.
    fn attribute(&self, resource: &PlannedResource<'c>, name: &str) -> Option<DocumentNode> {
        if let Some(value) = self.plan.known(resource, name) {
            return Some(self.with_references(value));
        }
        let (target, attribute) = self.plan.referenced(resource, name)?;
        let value = match (target.kind, attribute.as_str()) {
            ("aws_lambda_function", "arn" | "invoke_arn" | "qualified_arn" | "qualified_invoke_arn") => {
                let parts = [text(target.address), text("Arn")].to_vec();
                DocumentNode::single("Fn::GetAtt", DocumentNode::new(NodeValue::List(parts), Position::default()))
            }
            (_, attribute) => match self.plan.known(target, attribute).filter(|_| attribute != "id") {
                Some(value) => from_value(value),
                None => reference(target.address),
            },
        };
        Some(if name == "target" && resource.kind == "aws_apigatewayv2_route" {
            integration_target(value)
        } else {
            value
        })
    }

    /// Replaces the ids of a state by references.
    fn with_references(&self, value: &Value) -> DocumentNode {
        let Some(known) = value.as_str() else { return from_value(value) };
        if let Some(address) = self.plan.ids.get(known).filter(|address| is_part_of_api(address)) {
            return reference(address);
        }
        match known.strip_prefix("integrations/").and_then(|id| self.plan.ids.get(id)) {
            Some(address) => integration_target(reference(address)),
            None => from_value(value),
        }
    }

    fn convert_stage(&mut self, resource: &PlannedResource<'c>) {
        let attributes: AttributeMap =
            &[("api_id", "ApiId"), ("name", "StageName"), ("stage_variables", "StageVariables")];
        let mut properties = self.properties(resource, attributes);
        let settings = |value: &Value| {
            let pairs =
                [("throttling_rate_limit", "ThrottlingRateLimit"), ("throttling_burst_limit", "ThrottlingBurstLimit")];
            // Terraform writes 0 for limits that are not set, but also for limits of 0; a rate without burst is set.
            let known = pairs.iter().filter(|(source, _)| value.get(source).is_some_and(|limit| !limit.is_null()));
            table(known.map(|(source, target)| entry(target, from_value(&value[*source]))).collect())
        };
        let default = resource.values["default_route_settings"].as_array().and_then(|list| list.first());
        properties.extend(default.map(|value| entry("DefaultRouteSettings", settings(value))));
        let routes = resource.values["route_settings"].as_array().into_iter().flatten();
        let routes = routes.filter_map(|value| Some(entry(value["route_key"].as_str()?, settings(value)))).collect();
        properties.push(entry("RouteSettings", table(routes)));
        let format = resource.values["access_log_settings"][0]["format"].as_str();
        properties.extend(format.map(|format| entry("AccessLogSettings", table(vec![entry("Format", text(format))]))));
        self.add(resource, "AWS::ApiGatewayV2::Stage", properties);
    }

    fn convert_domain(&mut self, resource: &PlannedResource<'c>) {
        let certificates = resource.values["mutual_tls_authentication"].as_array();
        let checked = certificates.is_some_and(|list| !list.is_empty());
        let properties = if checked { vec![entry("MutualTlsAuthentication", table(Vec::new()))] } else { Vec::new() };
        self.add(resource, "AWS::ApiGatewayV2::DomainName", properties);
    }

    fn add(&mut self, resource: &PlannedResource<'c>, kind: &str, properties: Vec<TableEntry>) {
        let node = table(vec![entry("Type", text(kind)), entry("Properties", table(properties))]);
        self.resources.push(entry(resource.address, node));
    }
}

fn is_without_effect(kind: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|known| if known.ends_with('_') { kind.starts_with(known) } else { kind == *known })
}

/// Names of functions and tables are also their ids, and stay as they are.
fn is_part_of_api(address: &str) -> bool {
    address.contains("aws_apigatewayv2_") && !address.contains("aws_apigatewayv2_stage")
}

fn integration_target(id: DocumentNode) -> DocumentNode {
    let list = DocumentNode::new(NodeValue::List(vec![text("integrations/"), id]), Position::default());
    DocumentNode::single("Fn::Join", DocumentNode::new(NodeValue::List(vec![text(""), list]), Position::default()))
}

fn entry(key: &str, node: DocumentNode) -> TableEntry {
    TableEntry { key: key.to_owned(), key_position: Position::default(), node }
}

fn table(entries: Vec<TableEntry>) -> DocumentNode {
    DocumentNode::new(NodeValue::Table(entries), Position::default())
}

fn text(text: &str) -> DocumentNode {
    DocumentNode::text(text, Position::default())
}

fn reference(address: &str) -> DocumentNode {
    DocumentNode::single("Ref", text(address))
}
