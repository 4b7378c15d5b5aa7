//! Resource types that are not read: those without effect here, and those that the application misses.

use super::functions::FUNCTION_KINDS;
use super::reader::TemplateReader;
use super::tables::TABLE_KINDS;
use crate::model::Severity;

/// Types that are read, also as part of another resource.
const READ: &[&str] = &[
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::ApiMapping",
    "AWS::ApiGatewayV2::Authorizer",
    "AWS::ApiGatewayV2::Deployment",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::IntegrationResponse",
    "AWS::ApiGatewayV2::Model",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::RouteResponse",
    "AWS::ApiGatewayV2::Stage",
    "AWS::Lambda::Alias",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Version",
    "AWS::Serverless::Api",
    "AWS::Serverless::HttpApi",
    "AWS::Serverless::LayerVersion",
    "AWS::Serverless::WebSocketApi",
];

/// Types without effect on a server outside AWS: permissions, monitoring, deployment, names, networks, and parts of REST
/// APIs, which are reported as a whole. A name that ends with `::` means all types of a service.
const WITHOUT_EFFECT: &[&str] = &[
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::Authorizer",
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGateway::GatewayResponse",
    "AWS::ApiGateway::Method",
    "AWS::ApiGateway::Model",
    "AWS::ApiGateway::RequestValidator",
    "AWS::ApiGateway::Resource",
    "AWS::ApiGateway::Stage",
    "AWS::ApplicationAutoScaling::",
    "AWS::ApplicationInsights::",
    "AWS::Backup::",
    "AWS::Budgets::",
    "AWS::CDK::Metadata",
    "AWS::CertificateManager::",
    "AWS::CloudFormation::Condition",
    "AWS::CloudFormation::WaitCondition",
    "AWS::CloudFormation::WaitConditionHandle",
    "AWS::CloudTrail::",
    "AWS::CloudWatch::",
    "AWS::CodeDeploy::",
    "AWS::EC2::",
    "AWS::IAM::",
    "AWS::KMS::",
    "AWS::Lambda::CodeSigningConfig",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::LayerVersionPermission",
    "AWS::Lambda::Permission",
    "AWS::Logs::",
    "AWS::Oam::",
    "AWS::ResourceGroups::",
    "AWS::Route53::",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::ResourcePolicy",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::Serverless::Connector",
    "AWS::Signer::",
    "AWS::Synthetics::",
    "AWS::XRay::",
];

/// Types whose absence opens access, with the remedy.
const ACCESS_CONTROLS: &[(&str, &str)] =
    &[("AWS::WAFv2::WebACLAssociation", "the rules are not applied; filter requests in the ingress")];

/// Types that have a special remedy.
const REMEDIES: &[(&str, &str)] = &[
    ("AWS::ApiGateway::ApiKey", "give the key with the setting api.keys"),
    ("AWS::ApiGateway::RestApi", "the API is not served; use an HTTP API, or events of AWS::Serverless::Function"),
    ("AWS::ApiGateway::UsagePlan", "rates and quotas of a usage plan are not applied; use throttling of routes"),
    ("AWS::ApiGateway::UsagePlanKey", "give the key with the setting api.keys"),
    ("AWS::CloudFormation::Stack", "nested stacks are not read; give the template with the WebSocket API"),
    ("AWS::Lambda::EventSourceMapping", "the function does not get events of this source"),
    ("AWS::Scheduler::Schedule", "the function is not invoked on a schedule; use a cron job"),
    ("AWS::Serverless::Application", "nested applications are not read; give the template with the WebSocket API"),
];

impl TemplateReader<'_> {
    /// Reports the resources that the application misses.
    pub(super) fn report_other_kinds(&mut self) {
        let kinds: Vec<&str> = self.template.resources.values().map(|resource| resource.kind).collect();
        for resource in self.active(&kinds) {
            let kind = resource.kind;
            if is_read(kind) || is_without_effect(kind) {
                continue;
            }
            if let Some((_, remedy)) = ACCESS_CONTROLS.iter().find(|(known, _)| *known == kind) {
                self.report(
                    Severity::Security,
                    resource.location(),
                    format!("{} ({kind}): {remedy}", resource.logical_id),
                );
                continue;
            }
            let remedy = REMEDIES.iter().find(|(known, _)| *known == kind).map_or(
                "the server does not provide it; functions that use it need credentials and an address of their own",
                |(_, remedy)| remedy,
            );
            self.report(Severity::Warning, resource.location(), format!("{} ({kind}): {remedy}", resource.logical_id));
        }
    }
}

fn is_read(kind: &str) -> bool {
    READ.contains(&kind) || FUNCTION_KINDS.contains(&kind) || TABLE_KINDS.contains(&kind)
}

fn is_without_effect(kind: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|known| if known.ends_with("::") { kind.starts_with(known) } else { kind == *known })
}
