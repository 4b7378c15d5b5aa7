//! Integrations of `AWS::ApiGatewayV2::Integration`: Lambda, HTTP proxy, mock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::TemplateReader;
use super::targets::substitute_variables;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{Integration, Severity};

/// Limits of API Gateway for `TimeoutInMillis`; the upper one is the default.
const TIMEOUT_MILLIS: std::ops::RangeInclusive<u64> = 50..=29_000;

impl<'a> TemplateReader<'a> {
    /// Returns the integration of a route; one that is not supported becomes an error.
    pub(super) fn read_integration(
        &mut self,
        resource: &Resource<'a>,
        route: &str,
        variables: &BTreeMap<String, String>,
    ) -> Option<Integration> {
        let kind = self.text(resource, "IntegrationType")?;
        let timeout = self.integration_timeout(resource, "TimeoutInMillis", resource.property("TimeoutInMillis"));
        match kind.as_str() {
            "AWS_PROXY" => {
                let uri = self.text(resource, "IntegrationUri")?;
                let location = resource.property_location("IntegrationUri");
                let function = self.function_target(&uri, variables, location, Severity::Error)?;
                Some(Integration::Lambda { function, timeout })
            }
            "HTTP_PROXY" => self.http_proxy(resource, variables, timeout),
            "MOCK" => Some(Integration::Mock {
                request_templates: self.texts(resource, "RequestTemplates"),
                template_selection: self.text(resource, "TemplateSelectionExpression"),
                response_templates: self.response_templates(resource),
            }),
            _ => {
                let message = format!(
                    "the route {route} has an integration of type {kind}, which is not supported; \
                     use AWS_PROXY with a function that calls the service"
                );
                self.report(Severity::Error, resource.property_location("IntegrationType"), message);
                None
            }
        }
    }

    fn http_proxy(
        &mut self,
        resource: &Resource<'a>,
        variables: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Option<Integration> {
        if self.text(resource, "ConnectionType").is_some_and(|kind| kind == "VPC_LINK") {
            let message =
                format!("the VPC link of {} is not used; the server calls the URI itself", resource.logical_id);
            self.report(Severity::Warning, resource.property_location("ConnectionType"), message);
        }
        let uri = self.text(resource, "IntegrationUri")?;
        Some(Integration::HttpProxy {
            method: self.text(resource, "IntegrationMethod").unwrap_or_else(|| "POST".to_owned()),
            uri: substitute_variables(&uri, variables),
            request_parameters: self.texts(resource, "RequestParameters"),
            timeout,
        })
    }

    /// Converts milliseconds within API Gateway's limits.
    pub(super) fn integration_timeout(
        &mut self,
        owner: &Resource<'a>,
        name: &str,
        node: Option<&'a DocumentNode>,
    ) -> Duration {
        let location = owner.property_location(name);
        let value = node.and_then(|node| self.evaluate(node, location.clone()));
        let millis = value.and_then(|value| {
            let expected = "a number of milliseconds from 50 to 29000";
            self.convert(&value, expected, location, |value| {
                value.whole_number().filter(|millis| TIMEOUT_MILLIS.contains(millis))
            })
        });
        Duration::from_millis(millis.unwrap_or(*TIMEOUT_MILLIS.end()))
    }

    /// Returns the template of each integration response: that of `$default`, otherwise the first.
    fn response_templates(&mut self, integration: &Resource<'a>) -> BTreeMap<String, String> {
        let mut templates = BTreeMap::new();
        for response in self.active(&["AWS::ApiGatewayV2::IntegrationResponse"]) {
            if self.text(&response, "IntegrationId").is_none_or(|id| id != integration.logical_id) {
                continue;
            }
            let key = self.text(&response, "IntegrationResponseKey").unwrap_or_else(|| "$default".to_owned());
            let selection =
                self.text(&response, "TemplateSelectionExpression").unwrap_or_else(|| "$default".to_owned());
            let by_selection = self.texts(&response, "ResponseTemplates");
            let template =
                by_selection.get(&selection).or(by_selection.get("$default")).or(by_selection.values().next());
            templates.extend(template.map(|template| (key, template.clone())));
        }
        templates
    }
}
