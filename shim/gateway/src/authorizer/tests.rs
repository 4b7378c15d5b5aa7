//! Authorizer results, by the AU rows of the catalogue.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerResponse;
use serde_json::{Value, json};

use super::*;
use crate::api::WebSocketApi;
use crate::handshake::{EventHeaders, QueryParameters};
use crate::samples::{api_definition, handshake_request, websocket_api};

fn outcome_of(result: &Value) -> AuthorizerOutcome {
    authorizer_outcome_from_json(&websocket_api(), result.to_string().as_bytes(), 3)
}

fn statement(effect: &str, resource: &str) -> Value {
    json!({"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource})
}

fn policy(statements: Value) -> Value {
    json!({"principalId": "alice", "policyDocument": {"Version": "2012-10-17", "Statement": statements}})
}

fn allowed(result: &Value) -> bool {
    matches!(outcome_of(result), AuthorizerOutcome::Allow(_))
}

#[test]
fn au_4_allow_continues_and_deny_is_denied() {
    assert!(allowed(&policy(json!([statement("Allow", "*")]))));
    assert!(allowed(&policy(statement("Allow", "arn:aws:execute-api:us-east-1:123456789012:abc/prod/$connect"))));
    assert_eq!(outcome_of(&policy(json!([statement("Deny", "*")]))), AuthorizerOutcome::Denied);
    assert_eq!(outcome_of(&policy(json!([]))), AuthorizerOutcome::Denied);
}

#[test]
fn au_5_only_the_exact_message_is_unauthorized() {
    let failed = |message: &str| {
        authorizer_outcome(&websocket_api(), Err(AuthorizerInvocationError::Function(message.to_owned())), 0)
    };
    assert_eq!(failed("Unauthorized"), AuthorizerOutcome::Unauthorized);
    for message in ["unauthorized", "Unauthorized.", "boom", ""] {
        assert_eq!(failed(message), AuthorizerOutcome::Misconfigured(None), "{message:?}");
    }
    for failure in [AuthorizerInvocationError::TimedOut, AuthorizerInvocationError::NotInvokable] {
        assert_eq!(authorizer_outcome(&websocket_api(), Err(failure), 0), AuthorizerOutcome::Misconfigured(None));
    }
}

#[test]
fn au_6_a_result_that_is_not_a_policy_is_misconfigured() {
    let no_effect = json!([{"Action": "*", "Resource": "*"}]);
    let not_action = json!([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]);
    let unknown_effect = json!([{"Effect": "Maybe", "Action": "*", "Resource": "*"}]);
    let results = [json!({"statusCode": 401}), json!(null), json!("Allow"), json!([]), json!({"principalId": "alice"})];
    let policies = [policy(no_effect), policy(not_action), policy(unknown_effect), policy(json!("Allow"))];
    for result in results.iter().chain(&policies) {
        assert!(matches!(outcome_of(result), AuthorizerOutcome::Misconfigured(Some(_))), "{result}");
    }
    let outcome = authorizer_outcome_from_json(&websocket_api(), b"{", 0);
    assert_eq!(outcome, AuthorizerOutcome::Misconfigured(Some(AuthorizerFormatError::NotAnObject)));
}

#[test]
fn au_7_a_missing_principal_is_misconfigured() {
    for principal in [json!(null), json!(""), json!(7)] {
        let mut result = policy(statement("Allow", "*"));
        result["principalId"] = principal;
        assert_eq!(outcome_of(&result), AuthorizerOutcome::Misconfigured(Some(AuthorizerFormatError::NoPrincipal)));
    }
}

#[test]
fn au_8_context_values_are_scalars() {
    let with = |context: Value| {
        let mut result = policy(statement("Allow", "*"));
        result["context"] = context;
        outcome_of(&result)
    };
    for context in [json!({"a": {}}), json!({"a": [1]}), json!([]), json!("text")] {
        let rejected = AuthorizerOutcome::Misconfigured(Some(AuthorizerFormatError::InvalidContext));
        assert_eq!(with(context.clone()), rejected, "{context}");
    }
    let AuthorizerOutcome::Allow(context) = with(json!({"n": 1, "s": "x", "f": true, "z": null, "principalId": "eve"}))
    else {
        panic!("scalars are allowed");
    };
    let expected = json!({"n": 1, "s": "x", "f": true, "principalId": "alice", "integrationLatency": 3});
    assert_eq!(serde_json::to_value(&context).unwrap(), expected);
    assert_eq!(serde_json::to_value(context.to_lambda_authorizer().fields).unwrap(), expected);
    assert_eq!(context.value_of("s"), Some(&ContextValue::Text("x".into())));
}

#[test]
fn au_9_explicit_deny_wins_and_wildcards_count() {
    let both = json!([statement("Allow", "*"), statement("Deny", "*/$connect")]);
    assert_eq!(outcome_of(&policy(both)), AuthorizerOutcome::Denied);
    let elsewhere = json!([statement("Allow", "*/prod/*"), statement("Deny", "*/other/*")]);
    assert!(allowed(&policy(elsewhere)));
    assert!(!allowed(&policy(statement("Allow", "*/dev/*"))));
    assert!(allowed(&policy(
        json!([{"Effect": "Allow", "Action": ["s3:*", "EXECUTE-API:*"], "Resource": ["x", "*"]}])
    )));
    assert!(!allowed(&policy(
        json!([{"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "*"}])
    )));
}

#[test]
fn au_9_conditions_fail_closed() {
    let condition = json!({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}});
    let with = |effect: &str| json!({"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition});
    assert!(!allowed(&policy(json!([with("Allow")]))));
    assert!(!allowed(&policy(json!([statement("Allow", "*"), with("Deny")]))));
    let mut named = statement("Allow", "*");
    named["Sid"] = json!("one");
    assert!(allowed(&policy(named)));
}

#[test]
fn au_10_a_result_over_8_kib_is_rejected_in_both_forms() {
    let sized = |bytes: usize| {
        let mut result = policy(json!([statement("Allow", "*")]));
        result["context"] = json!({"k": "x".repeat(bytes)});
        result
    };
    let typed = |result: &Value| {
        let response: ApiGatewayCustomAuthorizerResponse = serde_json::from_value(result.clone()).unwrap();
        matches!(authorizer_outcome(&websocket_api(), Ok(response), 0), AuthorizerOutcome::Allow(_))
    };
    assert!(allowed(&sized(7_000)) && typed(&sized(7_000)));
    assert!(!allowed(&sized(8_192)) && !typed(&sized(8_192)));
    let escaped = |count: usize| {
        let mut result = sized(0);
        result["context"]["k"] = "\u{1}".repeat(count).into();
        typed(&result)
    };
    // Each has six bytes in JSON.
    assert!(escaped(1_300) && !escaped(1_366));
}

#[test]
fn au_2_every_identity_source_must_be_present() {
    let sources = [
        "route.request.header.Authorization",
        "route.request.querystring.token",
        "stageVariables.env",
        "context.stage",
    ];
    let mut definition = api_definition();
    definition.authorizer = Some(sources.map(str::to_owned).into());
    definition.stage_variables.insert("env".to_owned(), "test".to_owned());
    let api = WebSocketApi::new(definition).unwrap();
    let may_run = |header: &'static str, query: &str| {
        let headers = EventHeaders::for_authorizer(&handshake_request(&[("authorization", header)]));
        api.authorizer.as_ref().unwrap().may_run(&api, &headers, &QueryParameters::parse(query))
    };
    assert!(may_run("x", "token=y"));
    assert!(!may_run("", "token=y"));
    assert!(!may_run("x", "token="));
    assert!(!may_run("x", ""));
}

#[test]
fn au_2_identity_sources_have_four_forms() {
    for text in [
        "",
        "Authorization",
        "route.request.header.",
        "route.request.header.a b",
        "context.nonsense",
        "stageVariables.",
    ] {
        assert!(IdentitySource::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn au_3_without_identity_sources_the_function_always_runs() {
    let headers = EventHeaders::for_authorizer(&handshake_request(&[]));
    assert!(RequestAuthorizer { identity_sources: vec![] }.may_run(
        &websocket_api(),
        &headers,
        &QueryParameters::default()
    ));
}

#[test]
fn malformed_results_are_explained_without_their_values() {
    let policy = json!({"Version": "2012-10-17", "Statement": statement("Allow", "*")});
    for (result, expected) in [
        (json!("private"), AuthorizerFormatError::NotAnObject),
        (json!({"principalId": "private"}), AuthorizerFormatError::NoPolicy),
        (json!({"principalId": "private", "policyDocument": {}}), AuthorizerFormatError::NoPolicy),
        (json!({"principalId": "private", "policyDocument": {"Statement": [{}]}}), AuthorizerFormatError::NoPolicy),
        (json!({"principalId": "", "policyDocument": policy}), AuthorizerFormatError::NoPrincipal),
        (json!({"principalId": 7, "policyDocument": policy}), AuthorizerFormatError::NoPrincipal),
        (
            json!({"principalId": "private", "policyDocument": policy, "context": {"a": []}}),
            AuthorizerFormatError::InvalidContext,
        ),
        (json!("private".repeat(1_200)), AuthorizerFormatError::TooLarge { bytes: 8_402, limit: 8_192 }),
    ] {
        let error = parse_authorizer_response(result.to_string().as_bytes(), 8_192).unwrap_err();
        assert_eq!(error, expected, "{result}");
        assert!(!error.to_string().contains("private"), "{error}");
    }
}
