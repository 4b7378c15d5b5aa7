use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read_terraform;
use crate::context::ApplicationContext;
use crate::model::{Application, Authorization, CodeLocation, Integration, Severity, Throttle};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/terraform")
}

fn example() -> Application {
    let path = fixtures().join("plan.json");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    read_terraform(&path, &text, &ApplicationContext::default()).expect("the fixture is a plan")
}

const FUNCTION: &str = "module.functions.aws_lambda_function.send";

#[test]
fn references_of_a_plan_lead_to_resources_and_modules() {
    let application = example();
    let api = application.websocket_api.expect("the plan has a WebSocket API");
    let [connect, send] = api.routes.as_slice() else { panic!("{:#?} {:#?}", api.routes, application.findings) };
    let integration = Integration::Lambda { function: FUNCTION.to_owned(), timeout: Duration::from_secs(4) };
    assert_eq!((send.key.as_str(), &send.integration), ("send", &integration));
    let identity_sources = vec!["route.request.querystring.token".to_owned()];
    let expected = Authorization::Custom { function: FUNCTION.to_owned(), identity_sources };
    assert_eq!((connect.key.as_str(), &connect.authorization), ("$connect", &expected));
    assert_eq!(send.authorization, Authorization::None);
    assert_eq!((api.stage.name.as_str(), api.stage.variables["a"].as_str()), ("live", "b"));
    assert_eq!(api.stage.default_throttle, Some(Throttle { rate: 10.0, burst: 20 }));
    assert_eq!((send.location.element.as_str(), send.location.line), ("aws_apigatewayv2_route.all[\"send\"]", 0));
}

#[test]
fn functions_and_tables_of_a_plan_are_read() {
    let application = example();
    let function = &application.functions[FUNCTION];
    assert_eq!((function.name.as_str(), function.memory_mib), ("chat-send", 256));
    assert_eq!((function.timeout, function.reserved_concurrency), (Duration::from_secs(9), None));
    assert_eq!(function.code, CodeLocation::Directory(fixtures().join("src")));
    assert_eq!(function.environment["TABLE"], "connections");
    let table = &application.tables["aws_dynamodb_table.connections"];
    assert_eq!((table.name.as_str(), table.key.partition.as_str()), ("connections", "id"));
    assert_eq!((table.global_indexes[0].name.as_str(), table.ttl_attribute.as_deref()), ("rooms", Some("expires")));
}

#[test]
fn unknown_variables_and_other_resources_are_warnings() {
    let application = example();
    let found: Vec<&str> = application.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(application.findings.iter().all(|finding| finding.severity == Severity::Warning), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("aws_sqs_queue.jobs (aws_sqs_queue): the server does not provide it"), "{found:#?}");
    assert!(found[1].starts_with("the variable ENDPOINT of the function module.functions"), "{found:#?}");
}

#[test]
fn ids_of_a_state_are_replaced_by_references() {
    let resource = |kind: &str, values: &str| {
        format!("{{\"address\":\"{kind}.x\",\"mode\":\"managed\",\"type\":\"{kind}\",\"values\":{{{values}}}}}")
    };
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:echo";
    let resources = [
        resource(
            "aws_apigatewayv2_api",
            "\"id\":\"a1\",\"protocol_type\":\"WEBSOCKET\",\"route_selection_expression\":\"$request.body.a\"",
        ),
        resource("aws_apigatewayv2_stage", "\"id\":\"prod\",\"api_id\":\"a1\",\"name\":\"prod\""),
        resource(
            "aws_apigatewayv2_route",
            "\"id\":\"r1\",\"api_id\":\"a1\",\"route_key\":\"$default\",\"target\":\"integrations/i1\"",
        ),
        resource(
            "aws_apigatewayv2_route_response",
            "\"id\":\"rr1\",\"api_id\":\"a1\",\"route_id\":\"r1\",\"route_response_key\":\"$default\"",
        ),
        resource(
            "aws_apigatewayv2_integration",
            &format!(
                "\"id\":\"i1\",\"api_id\":\"a1\",\"integration_type\":\"AWS_PROXY\",\"integration_uri\":\"{arn}\""
            ),
        ),
        resource(
            "aws_lambda_function",
            "\"id\":\"echo\",\"function_name\":\"echo\",\"runtime\":\"nodejs22.x\",\"handler\":\"app.handler\",\"filename\":\"src\"",
        ),
    ];
    let text = format!(
        "{{\"terraform_version\":\"1.13.0\",\"values\":{{\"root_module\":{{\"resources\":[{}]}}}}}}",
        resources.join(",")
    );
    let application =
        read_terraform(&fixtures().join("state.json"), &text, &ApplicationContext::default()).expect("a state");
    assert_eq!(application.findings, []);
    let route = application.websocket_api.expect("the state has a WebSocket API").routes.remove(0);
    assert_eq!((route.integration.function(), route.two_way), (Some("aws_lambda_function.x"), true));
}

#[test]
fn other_documents_have_a_remedy() {
    for (text, message) in [("{}", "the file is neither a plan nor a state"), ("{", "syntax error")] {
        let error =
            read_terraform(&fixtures().join("x.json"), text, &ApplicationContext::default()).expect_err("no plan");
        assert!(error.message.starts_with(message) && error.fix.contains("terraform show -json"), "{error}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("main.tf"), "").expect("a file");
    let error = crate::read_application(directory.path(), &ApplicationContext::default()).expect_err("no plan");
    assert!(error.message.starts_with("Terraform configurations are read as a plan"), "{error}");
}
