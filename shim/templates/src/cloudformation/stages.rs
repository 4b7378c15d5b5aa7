//! Stages: name, variables, throttling, access logs.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{Severity, SourceLocation, StageResource, Throttle};

/// Rate and burst of an account, which apply where a stage sets only one of the two.
const ACCOUNT_RATE: f64 = 10_000.0;
const ACCOUNT_BURST: u32 = 5_000;

/// Stage name if the template has no stage.
const ASSUMED_STAGE: &str = "prod";

impl<'a> TemplateReader<'a> {
    /// Returns the stage of an API: that of the context, otherwise the first.
    pub(super) fn read_stage(&mut self, api: &Resource<'a>) -> StageResource {
        let stages: Vec<(Resource<'a>, String)> = self
            .parts_of(api, "AWS::ApiGatewayV2::Stage")
            .into_iter()
            .filter_map(|stage| self.text(&stage, "StageName").map(|name| (stage, name)))
            .collect();
        let wanted = self.resolver.context.stage.as_deref();
        let selected = stages.iter().find(|(_, name)| Some(name.as_str()) == wanted).or(stages.first());
        let Some((stage, name)) = selected.cloned() else {
            let message = format!("the API {} has no stage; the stage {ASSUMED_STAGE} is assumed", api.logical_id);
            self.report(Severity::Warning, api.location(), message);
            let assumed = self.resolver.context.stage.clone();
            return empty_stage(assumed.unwrap_or_else(|| ASSUMED_STAGE.to_owned()));
        };
        if stages.len() > 1 {
            let names: Vec<&str> = stages.iter().map(|(_, name)| name.as_str()).collect();
            let message = format!("of the stages {} only {name} is served; start a server for each", names.join(", "));
            self.report(Severity::Warning, stage.location(), message);
        }
        self.stage_settings(&stage, name, &[stage.node.get("Properties")])
    }

    /// Reads the settings, which a stage and `AWS::Serverless::WebSocketApi` have in common. Later sources replace
    /// the values of earlier ones.
    pub(super) fn stage_settings(
        &mut self,
        owner: &Resource<'a>,
        name: String,
        sources: &[Option<&'a DocumentNode>],
    ) -> StageResource {
        let mut stage = empty_stage(name);
        for source in sources.iter().copied().flatten() {
            self.add_stage_settings(owner, source, &mut stage);
        }
        stage
    }

    fn add_stage_settings(&mut self, owner: &Resource<'a>, source: &'a DocumentNode, stage: &mut StageResource) {
        let mut value = |name: &str| {
            let location = owner.property_location(name);
            let node = self.evaluate(source.get(name)?, location.clone())?;
            Some((node, location))
        };
        let default_settings = value("DefaultRouteSettings");
        let route_settings = value("RouteSettings");
        let variables = value("StageVariables");
        let log_settings = value("AccessLogSettings");
        if let Some((node, location)) = default_settings {
            stage.default_throttle = self.throttle(&node, location).or(stage.default_throttle);
        }
        if let Some((node, location)) = route_settings {
            for entry in node.entries() {
                let throttle = self.throttle(&entry.node, location.clone());
                stage.route_throttles.extend(throttle.map(|throttle| (entry.key.clone(), throttle)));
            }
        }
        if let Some((node, location)) = variables {
            stage.variables.extend(self.table_of_texts(&node, location));
        }
        let format = log_settings.and_then(|(node, _)| node.get("Format")?.scalar());
        stage.access_log_format = format.or(stage.access_log_format.take());
    }

    /// Reads `ThrottlingRateLimit` and `ThrottlingBurstLimit`.
    fn throttle(&mut self, settings: &DocumentNode, location: SourceLocation) -> Option<Throttle> {
        let (rate, burst) = (settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit"));
        if rate.is_none() && burst.is_none() {
            return None;
        }
        let rate = match rate {
            Some(node) => self.convert(node, "a rate, 0 or more", location.clone(), |node| {
                node.number().filter(|rate| *rate >= 0.0)
            })?,
            None => ACCOUNT_RATE,
        };
        let burst = match burst {
            Some(node) => {
                self.convert(node, "a number, 0 or more", location, |node| u32::try_from(node.whole_number()?).ok())?
            }
            None => ACCOUNT_BURST,
        };
        Some(Throttle { rate, burst })
    }
}

fn empty_stage(name: String) -> StageResource {
    StageResource {
        name,
        variables: BTreeMap::new(),
        default_throttle: None,
        route_throttles: BTreeMap::new(),
        access_log_format: None,
    }
}
