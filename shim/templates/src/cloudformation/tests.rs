mod findings;
mod intrinsics;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read_cloudformation;
use crate::context::ApplicationContext;
use crate::model::{
    Application, Authorization, CodeLocation, Finding, HttpPayload, Integration, RouteResource, Severity, Throttle,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn context() -> ApplicationContext {
    ApplicationContext {
        stack_name: Some("app".to_owned()),
        region: "eu-west-1".to_owned(),
        account_id: "123456789012".to_owned(),
        api_id: "abc123".to_owned(),
        ..ApplicationContext::default()
    }
}

fn read_fixture(name: &str) -> Application {
    let path = fixture(name);
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    read_cloudformation(&path, &text, &context()).expect("the fixture has no syntax error")
}

/// Reads a text as a template in the directory `chat`.
fn read(text: &str) -> Application {
    read_in(text, &context())
}

fn read_in(text: &str, context: &ApplicationContext) -> Application {
    read_cloudformation(&fixture("chat/inline.yaml"), text, context).expect("the template has no syntax error")
}

fn route<'a>(application: &'a Application, key: &str) -> &'a RouteResource {
    let api = application.websocket_api.as_ref().expect("the template has a WebSocket API");
    api.routes.iter().find(|route| route.key == key).expect("the route exists")
}

fn of_severity(application: &Application, severity: Severity) -> Vec<&Finding> {
    application.findings.iter().filter(|finding| finding.severity == severity).collect()
}

#[test]
fn routes_of_cloudformation_resources_lead_to_their_functions() {
    let application = read_fixture("chat/template.yaml");
    assert_eq!(of_severity(&application, Severity::Error), Vec::<&Finding>::new());
    for (key, function) in [("$connect", "OnConnect"), ("$disconnect", "OnDisconnect"), ("sendmessage", "SendMessage")]
    {
        assert_eq!(route(&application, key).integration.function(), Some(function));
    }
    let send = route(&application, "sendmessage");
    let timeout = Duration::from_secs(5);
    assert_eq!(send.integration, Integration::Lambda { function: "SendMessage".to_owned(), timeout });
    assert!(send.two_way && !route(&application, "$connect").two_way);
    assert_eq!(send.request_model.as_ref().map(|model| model["required"][0].clone()), Some("data".into()));
    assert_eq!(send.location.line, 51);
}

#[test]
fn the_stage_has_variables_throttles_and_a_log_format() {
    let application = read_fixture("chat/template.yaml");
    let api = application.websocket_api.expect("the template has a WebSocket API");
    assert_eq!(api.route_selection_expression, "$request.body.message");
    assert_eq!((api.stage.name.as_str(), api.stage.variables["backend"].as_str()), ("Prod", "10.0.0.1"));
    assert_eq!(api.stage.default_throttle, Some(Throttle { rate: 50.0, burst: 100 }));
    assert_eq!(api.stage.route_throttles["sendmessage"], Throttle { rate: 5.0, burst: 5_000 });
    assert_eq!(api.stage.access_log_format.as_deref(), Some("$context.connectionId $context.status"));
}

#[test]
fn functions_have_the_defaults_of_lambda() {
    let application = read_fixture("chat/template.yaml");
    let connect = &application.functions["OnConnect"];
    assert_eq!((connect.timeout, connect.memory_mib), (Duration::from_secs(3), 256));
    assert_eq!((connect.name.as_str(), connect.handler.as_str()), ("app-OnConnect", "app.handler"));
    assert_eq!(connect.code, CodeLocation::Directory(fixture("chat/onconnect/")));
    let send = &application.functions["SendMessage"];
    assert_eq!((send.timeout, send.memory_mib), (Duration::from_secs(20), 128));
    assert_eq!(send.reserved_concurrency, Some(5));
}

#[test]
fn variables_have_names_and_ids_of_resources() {
    let application = read_fixture("chat/template.yaml");
    let variables = &application.functions["SendMessage"].environment;
    assert_eq!(variables["TABLE_NAME"], "chat_connections");
    assert_eq!(variables["TABLE_ARN"], "arn:aws:dynamodb:eu-west-1:123456789012:table/chat_connections");
    assert_eq!(variables["ENDPOINT"], "https://abc123.execute-api.eu-west-1.amazonaws.com/Prod");
    assert_eq!(variables["LITERAL"], "${Literal} 123456789012");
    assert_eq!(variables["QUEUE_URL"], "https://sqs.eu-west-1.amazonaws.com/123456789012/app-Jobs");
    assert!(!format!("{:?}", application.functions["SendMessage"]).contains("chat_connections"));
}

#[test]
fn tables_have_keys_indexes_and_ttl() {
    let application = read_fixture("chat/template.yaml");
    let table = &application.tables["ConnectionsTable"];
    assert_eq!(table.name, "chat_connections");
    assert_eq!(table.key.partition, "connectionId");
    assert_eq!(table.global_indexes[0].key.sort.as_deref(), Some("connectionId"));
    assert_eq!(table.global_indexes[0].projected_attributes, ["user"]);
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires"));
    assert_eq!(table.stream_view.as_deref(), Some("NEW_IMAGE"));
}

#[test]
fn only_resources_that_the_application_misses_are_findings() {
    let application = read_fixture("chat/template.yaml");
    let found: Vec<(usize, &str)> =
        application.findings.iter().map(|f| (f.location.line, f.location.element.as_str())).collect();
    assert_eq!(found, [(144, "Resources.Jobs")], "{:#?}", application.findings);
    assert!(application.findings[0].message.starts_with("Jobs (AWS::SQS::Queue): the server does not provide it"));
}

#[test]
fn sam_websocket_apis_have_routes_and_globals() {
    let application = read_fixture("sam_websocket/template.yaml");
    let api = application.websocket_api.as_ref().expect("the template has a WebSocket API");
    assert_eq!((api.stage.name.as_str(), api.stage.variables["region"].as_str()), ("default", "eu"));
    assert_eq!(api.stage.default_throttle, Some(Throttle { rate: 10.0, burst: 20 }));
    assert_eq!(api.base_paths, ["", "chat"]);
    let send = route(&application, "sendMessage");
    let timeout = Duration::from_secs(2);
    assert_eq!(send.integration, Integration::Lambda { function: "SendMessageFunction".to_owned(), timeout });
    assert!(send.two_way && send.api_key_required);
    assert_eq!(send.location.line, 23);
    assert_eq!(route(&application, "$connect").required_parameters, ["route.request.querystring.room"]);
    let function = &application.functions["SendMessageFunction"];
    assert_eq!((function.name.as_str(), function.timeout), ("app-send", Duration::from_secs(7)));
    assert_eq!((function.environment["LOG"].as_str(), function.environment["SHARED"].as_str()), ("debug", "1"));
    assert_eq!(function.environment["API"], "abc123");
    assert_eq!(function.environment["URL"], "wss://abc123.execute-api.eu-west-1.amazonaws.com");
    assert_eq!(application.functions["DisconnectFunction"].timeout, Duration::from_secs(1));
    let warnings = of_severity(&application, Severity::Warning);
    assert!(
        warnings.iter().any(|f| f.message.contains("RouteId: !Ref MyWebSocketApiSendmessageRoute")),
        "{warnings:#?}"
    );
}

#[test]
fn sam_websocket_apis_have_an_authorizer() {
    let application = read_fixture("sam_authorizer/template.yaml");
    assert_eq!(application.findings, []);
    let identity_sources = vec!["route.request.header.Authorization".to_owned()];
    let expected = Authorization::Custom { function: "AuthorizerFunction".to_owned(), identity_sources };
    assert_eq!(route(&application, "$connect").authorization, expected);
    assert_eq!(route(&application, "sendMessage").authorization, Authorization::None);
    assert_eq!(application.websocket_api.map(|api| api.stage.name).as_deref(), Some("live"));
}

#[test]
fn http_events_become_apis() {
    let context = ApplicationContext { parameters: [("Secret".to_owned(), "x".to_owned())].into(), ..context() };
    let path = fixture("http/template.yaml");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    let application = read_cloudformation(&path, &text, &context).expect("the fixture has no syntax error");
    let [rooms, rest] = application.http_apis.as_slice() else { panic!("{:#?}", application.http_apis) };
    assert_eq!((rooms.logical_id.as_str(), rooms.stage.as_str()), ("RoomsApi", "v1"));
    assert_eq!((rooms.routes[0].method.as_str(), rooms.routes[0].path.as_str()), ("GET", "/rooms"));
    assert_eq!((rooms.routes[0].payload, rooms.routes[1].payload), (HttpPayload::V2, HttpPayload::V1));
    assert_eq!((rest.logical_id.as_str(), rest.stage.as_str()), ("ServerlessRestApi", "Prod"));
    assert_eq!(application.functions["Rooms"].layers, [fixture("http/src")]);
    assert_eq!(application.tables["Rooms2"].attributes["room"], "N");
    assert!(application.websocket_api.is_none());
    let warnings: Vec<&str> = application.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        warnings,
        ["the event Nightly of the function Rooms has the type Schedule; the function does not get these events"]
    );
}

#[test]
fn the_template_of_this_repository_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
    let text = std::fs::read_to_string(&path).expect("the repository has a template");
    let application = read_cloudformation(&path, &text, &context()).expect("the template has no syntax error");
    let api = application.websocket_api.as_ref().expect("the template has a WebSocket API");
    assert_eq!(api.stage.name, "prod");
    assert!(matches!(route(&application, "$connect").authorization, Authorization::Custom { .. }));
    assert!(application.tables.contains_key("ConnectionsTable"));
    assert_eq!(of_severity(&application, Severity::Error), Vec::<&Finding>::new());
}
