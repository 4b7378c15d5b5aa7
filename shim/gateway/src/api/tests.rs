//! What a definition may and may not say.

use super::*;
use crate::samples::{api_definition, route_definition};

fn mistakes(change: impl FnOnce(&mut ApiDefinition)) -> Vec<ApiValidationError> {
    let mut definition = api_definition();
    change(&mut definition);
    WebSocketApi::new(definition).err().map(|mistakes| mistakes.0).unwrap_or_default()
}

#[test]
fn a_whole_definition_is_accepted() {
    assert_eq!(mistakes(|_| ()), []);
}

#[test]
fn all_mistakes_are_reported_together() {
    let found = mistakes(|definition| {
        definition.stage = "no/slash".to_owned();
        definition.selection = "$request.query.x".to_owned();
        definition.authorizer = Some(vec!["header.Authorization".to_owned()]);
        definition.routes.extend(["", "$other", "chat", "$default", "$connect"].map(route_definition));
    });
    assert_eq!(found.len(), 8, "{found:?}");
    let text = ApiDefinitionError(found).to_string();
    assert!(text.contains("no/slash") && text.contains("$other") && text.contains("defined twice"), "{text}");
}

#[test]
fn stage_names_keep_to_the_grammar() {
    for name in ["", "a b", "ü", &"x".repeat(129)] {
        assert_eq!(
            mistakes(|definition| definition.stage = name.to_owned()),
            [ApiValidationError::StageName(name.to_owned())]
        );
    }
    assert_eq!(mistakes(|definition| definition.stage = "x".repeat(128)), []);
}

#[test]
fn routes_keep_to_the_quota() {
    let found =
        mistakes(|definition| definition.routes = (0..301).map(|n| route_definition(&format!("r{n}"))).collect());
    assert_eq!(found, [ApiValidationError::TooManyRoutes { found: 301, limit: 300 }]);
}

#[test]
fn au_9_the_arn_names_partition_and_stage() {
    let arn = |region: &str| {
        let mut definition = api_definition();
        definition.region = region.to_owned();
        WebSocketApi::new(definition).unwrap().connect_arn()
    };
    assert_eq!(arn("eu-central-1"), "arn:aws:execute-api:eu-central-1:123456789012:abc/prod/$connect");
    assert!(arn("cn-north-1").starts_with("arn:aws-cn:"));
    assert!(arn("us-gov-west-1").starts_with("arn:aws-us-gov:"));
}

#[test]
fn settings_of_routes_that_are_not_there_are_mistakes() {
    let rate = RateLimit { per_second: 1, burst: 1 };
    let found = mistakes(|definition| {
        definition.authorizer = Some(Vec::new());
        definition.settings.authorization = AuthorizationType::Iam;
        for key in ["chat", "$connect", "$disconnect", "other"] {
            definition.settings.rates.insert(key.to_owned(), rate);
        }
        for (key, schema) in [("chat", r#"{"type": "nothing"}"#), ("$connect", "{}")] {
            definition.settings.models.insert(key.to_owned(), serde_json::from_str(schema).unwrap());
        }
    });
    let text = ApiDefinitionError(found.clone()).to_string();
    assert_eq!(found.len(), 5, "{text}");
    assert!(found.contains(&ApiValidationError::TwoAuthorizations) && text.contains("draft 4"), "{text}");
}

#[test]
fn routes_get_their_own_settings_or_the_stages() {
    let (own, stage) = (RateLimit { per_second: 1, burst: 1 }, RateLimit { per_second: 2, burst: 2 });
    let mut definition = api_definition();
    definition.settings.default_rate = Some(stage);
    definition.settings.rates.insert("chat".to_owned(), own);
    definition.settings.models.insert("chat".to_owned(), serde_json::json!({"required": ["text"]}));
    let api = WebSocketApi::new(definition).unwrap();
    let chat = api.route_for(r#"{"action": "chat"}"#).unwrap();
    assert_eq!((chat.rate, api.connect_rate), (Some(own), Some(stage)));
    assert!(chat.model.as_ref().is_some_and(|model| !model.allows_body(r#"{"action": "chat"}"#)));
    let fallback = api.route_for("hello").unwrap();
    assert_eq!((fallback.rate, fallback.model.is_none()), (Some(stage), true));
    assert_ne!(chat.index, fallback.index);
}
