//! Authorization of `$connect`: IAM and REQUEST authorizers.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::model::{Authorization, Severity};

impl<'a> TemplateReader<'a> {
    /// Returns the authorization of a route; one that cannot be enforced is a security finding.
    pub(super) fn route_authorization(
        &mut self,
        route: &Resource<'a>,
        key: &str,
        variables: &BTreeMap<String, String>,
    ) -> Authorization {
        let location = route.property_location("AuthorizationType");
        let written = route.property("AuthorizationType").is_some();
        let kind = self.text(route, "AuthorizationType");
        if written && kind.is_none() {
            let message =
                format!("the AuthorizationType of the route {key} has no value; write NONE, AWS_IAM or CUSTOM");
            self.report(Severity::Security, location, message);
            return Authorization::None;
        }
        let kind = kind.unwrap_or_else(|| "NONE".to_owned());
        if kind != "NONE" && key != "$connect" {
            let message = format!("the route {key} has the authorization {kind}, but only $connect can be authorized");
            self.report(Severity::Security, location, message);
            return Authorization::None;
        }
        match kind.as_str() {
            "NONE" => Authorization::None,
            "AWS_IAM" => Authorization::Iam,
            "CUSTOM" => self.custom_authorization(route, variables),
            _ => {
                let message = format!("the authorization {kind} of $connect is not supported; use CUSTOM or AWS_IAM");
                self.report(Severity::Security, location, message);
                Authorization::None
            }
        }
    }

    fn custom_authorization(&mut self, route: &Resource<'a>, variables: &BTreeMap<String, String>) -> Authorization {
        let name = self.text(route, "AuthorizerId").unwrap_or_default();
        let authorizer = self.template.resources.get(name.as_str()).copied();
        let authorizer = authorizer.filter(|resource| resource.kind == "AWS::ApiGatewayV2::Authorizer");
        let Some(authorizer) = authorizer else {
            let message =
                format!("the authorizer \"{name}\" of $connect is not in the template; write AuthorizerId: !Ref NAME");
            self.report(Severity::Security, route.property_location("AuthorizerId"), message);
            return Authorization::None;
        };
        let kind = self.text(&authorizer, "AuthorizerType");
        if kind.as_deref() != Some("REQUEST") {
            let message = format!(
                "the authorizer {name} has the type {}, but WebSocket APIs have REQUEST authorizers only",
                kind.as_deref().unwrap_or("(none)")
            );
            self.report(Severity::Security, authorizer.property_location("AuthorizerType"), message);
            return Authorization::None;
        }
        let uri = self.text(&authorizer, "AuthorizerUri").unwrap_or_default();
        let location = authorizer.property_location("AuthorizerUri");
        match self.function_target(&uri, variables, location, Severity::Security) {
            Some(function) => {
                Authorization::Custom { function, identity_sources: self.list(&authorizer, "IdentitySource") }
            }
            None => Authorization::None,
        }
    }
}
