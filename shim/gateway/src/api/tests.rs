//! Validation of API definitions.

use super::*;
use crate::samples::{api_definition, route_definition};

fn validation_errors(change: impl FnOnce(&mut ApiDefinition)) -> Vec<ApiValidationError> {
    let mut definition = api_definition();
    change(&mut definition);
    WebSocketApi::new(definition).err().map(|errors| errors.0).unwrap_or_default()
}

#[test]
fn a_complete_definition_is_accepted() {
    assert_eq!(validation_errors(|_| ()), []);
}

#[test]
fn all_errors_are_reported_together() {
    let found = validation_errors(|definition| {
        definition.stage = "no/slash".to_owned();
        definition.selection = "$request.query.x".to_owned();
        definition.authorizer = Some(vec!["header.Authorization".to_owned()]);
        definition.routes.extend(["", "$other", "chat", "$default", "$connect"].map(route_definition));
    });
    assert_eq!(found.len(), 8, "{found:?}");
    let text = ApiDefinitionError(found).to_string();
    assert!(text.contains("no/slash") && text.contains("$other") && text.contains("duplicate route key"), "{text}");
}

#[test]
fn invalid_stage_names_are_rejected() {
    for name in ["", "a b", "ü", &"x".repeat(129)] {
        assert_eq!(
            validation_errors(|definition| definition.stage = name.to_owned()),
            [ApiValidationError::StageName(name.to_owned())]
        );
    }
    assert_eq!(validation_errors(|definition| definition.stage = "x".repeat(128)), []);
}

#[test]
fn more_routes_than_the_quota_are_rejected() {
    let found = validation_errors(|definition| {
        definition.routes = (0..301).map(|n| route_definition(&format!("r{n}"))).collect()
    });
    assert_eq!(found, [ApiValidationError::TooManyRoutes { found: 301, limit: 300 }]);
}

#[test]
fn au_9_the_arn_names_partition_and_stage() {
    let arn = |region: &str| {
        let mut definition = api_definition();
        definition.region = region.to_owned();
        WebSocketApi::new(definition).unwrap().connect_arn()
    };
    for (region, partition) in [
        ("us-east-1", "aws"),
        ("me-central-1", "aws"),
        ("mx-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ] {
        let expected = format!("arn:{partition}:execute-api:{region}:123456789012:abc/prod/$connect");
        assert_eq!(arn(region), expected);
    }
}

#[test]
fn settings_of_undefined_routes_are_errors() {
    let rate = RateLimit { per_second: 1, burst: 1 };
    let found = validation_errors(|definition| {
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
fn routes_have_their_own_settings_or_those_of_the_stage() {
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

#[test]
fn integration_timeouts_are_between_50_ms_and_the_quota() {
    let with_timeout = |timeout: u64| {
        validation_errors(|definition| {
            let timeout = Some(Duration::from_millis(timeout));
            definition.routes[3].integration = RouteIntegration::Lambda { function: "chat".to_owned(), timeout };
        })
    };
    assert_eq!((with_timeout(50), with_timeout(29_000)), (Vec::new(), Vec::new()));
    for timeout in [49, 29_001] {
        let text = ApiDefinitionError(with_timeout(timeout)).to_string();
        assert!(text.contains(&format!("\"chat\" is {timeout} ms, allowed are 50 to 29000 ms")), "{text}");
    }
    let api = WebSocketApi::new(api_definition()).unwrap();
    assert_eq!(api.routes.connect.as_ref().map(|route| route.timeout), Some(api.quotas.integration_timeout));
}

#[test]
fn required_parameters_are_headers_and_query_parameters() {
    let found = validation_errors(|definition| {
        definition.settings.required_parameters =
            ["route.request.header.X-A", "route.request.querystring.room", "context.stage", "body"]
                .map(str::to_owned)
                .into();
        definition.settings.base_paths = ["v1", "a b"].map(str::to_owned).into();
    });
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&ApiValidationError::RequiredParameter("context.stage".to_owned())));
}

#[test]
fn an_api_without_routes_has_no_path() {
    let mut definition = api_definition();
    assert!(WebSocketApi::new(definition.clone()).unwrap().match_path("/prod").is_some());
    definition.routes.clear();
    assert_eq!(WebSocketApi::new(definition).unwrap().match_path("/prod"), None);
}
