use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read_routes_file;
use crate::error::TemplateError;
use crate::model::{
    Application, Authorization, CodeLocation, HttpPayload, Integration, KeySchema, RouteResource, Throttle,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/routes")
}

fn example() -> Application {
    let path = fixtures().join("twinway.routes.toml");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    read_routes_file(&path, &text).expect("the fixture is correct")
}

fn route<'a>(application: &'a Application, key: &str) -> &'a RouteResource {
    let api = application.websocket_api.as_ref().expect("the file has routes");
    api.routes.iter().find(|route| route.key == key).expect("the route exists")
}

/// Reads a file that has errors.
fn rejected(text: &str) -> TemplateError {
    read_routes_file(&fixtures().join("bad.toml"), text).expect_err("the file has an error")
}

/// Reads a file with a correct function and the given lines.
fn rejected_lines(lines: &str) -> TemplateError {
    rejected(&format!("[functions.send]\ncommand = \"node send.js\"\n{lines}"))
}

#[test]
fn the_api_table_sets_selection_stage_and_limits() {
    let api = example().websocket_api.expect("the file has routes");
    assert_eq!(api.id.as_deref(), Some("chat1"));
    assert_eq!(api.route_selection_expression, "$request.body.type");
    assert_eq!(api.api_key_selection_expression.as_deref(), Some("$request.header.x-api-key"));
    assert_eq!(api.base_paths, ["", "chat"]);
    assert_eq!(api.stage.name, "v1");
    assert_eq!(api.stage.variables["backend"], "http://127.0.0.1:3000");
    assert_eq!(api.stage.default_throttle, Some(Throttle { rate: 100.0, burst: 200 }));
    assert_eq!(api.stage.route_throttles["sendmessage"], Throttle { rate: 5.5, burst: 10 });
    assert!(api.stage.access_log_format.is_some_and(|format| format.starts_with("$context.connectionId")));
}

#[test]
fn connect_has_the_authorizer_and_the_required_parameters() {
    let application = example();
    let connect = route(&application, "$connect");
    let identity_sources = vec!["route.request.header.Authorization".to_owned()];
    assert_eq!(connect.authorization, Authorization::Custom { function: "auth".to_owned(), identity_sources });
    assert_eq!(connect.required_parameters, ["route.request.querystring.room"]);
    assert!(connect.api_key_required && !connect.two_way);
    assert_eq!(route(&application, "sendmessage").authorization, Authorization::None);
}

#[test]
fn routes_have_integrations_of_three_kinds() {
    let application = example();
    let send = route(&application, "sendmessage");
    let timeout = Duration::from_secs(5);
    assert_eq!(send.integration, Integration::Lambda { function: "send".to_owned(), timeout });
    assert!(send.two_way && send.request_model.as_ref().is_some_and(|model| model["required"][0] == "text"));
    let Integration::HttpProxy { method, uri, request_parameters, timeout } =
        &route(&application, "legacy").integration
    else {
        panic!("legacy is an HTTP integration");
    };
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "http://127.0.0.1:3000/ws"));
    assert_eq!(request_parameters["integration.request.header.connectionId"], "context.connectionId");
    assert_eq!(*timeout, Duration::from_millis(500));
    let Integration::Mock { response_templates, .. } = &route(&application, "ping").integration else {
        panic!("ping is a mock");
    };
    assert_eq!(response_templates["$default"], "pong");
    let short = &route(&application, "$disconnect").integration;
    assert_eq!(*short, Integration::Lambda { function: "presence".to_owned(), timeout: Duration::from_secs(29) });
}

#[test]
fn functions_have_a_command_or_code_with_a_runtime() {
    let application = example();
    let presence = &application.functions["presence"];
    let line = vec!["node".to_owned(), "presence.js".to_owned()];
    assert_eq!(presence.code, CodeLocation::Command { line, directory: fixtures().join("code") });
    assert_eq!((presence.name.as_str(), presence.timeout), ("chat-presence", Duration::from_secs(30)));
    assert_eq!(presence.environment["LIMIT"], "10");
    let send = &application.functions["send"];
    assert_eq!(send.code, CodeLocation::Directory(fixtures().join("code")));
    assert_eq!((send.runtime.as_str(), send.handler.as_str()), ("nodejs22.x", "send.handler"));
    assert_eq!((send.timeout, send.memory_mib), (Duration::from_secs(10), 256));
    assert_eq!((send.layers.len(), send.reserved_concurrency), (1, Some(4)));
    let auth = &application.functions["auth"];
    assert_eq!((auth.runtime.as_str(), auth.handler.as_str()), ("provided.al2023", "bootstrap"));
}

#[test]
fn http_routes_and_tables_are_read() {
    let application = example();
    let routes = &application.http_apis[0].routes;
    assert_eq!((routes[0].method.as_str(), routes[0].path.as_str()), ("GET", "/rooms/{id}"));
    assert_eq!((routes[0].payload, routes[1].payload), (HttpPayload::V2, HttpPayload::V1));
    let table = &application.tables["connections"];
    assert_eq!(table.key, KeySchema { partition: "connectionId".to_owned(), sort: None });
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires"));
    assert_eq!(table.attributes["score"], "N");
    assert_eq!(table.attributes["room"], "S");
    assert_eq!(table.global_indexes[0].projected_attributes, ["user"]);
}

#[test]
fn locations_name_table_and_line() {
    let application = example();
    let send = route(&application, "sendmessage");
    assert_eq!((send.location.element.as_str(), send.location.line), ("routes.sendmessage", 25));
}

#[test]
fn a_file_without_api_table_has_the_defaults() {
    let text = "[routes]\n'$default' = 'echo'\n[functions.echo]\ncommand = ['./echo']\n";
    let application = read_routes_file(&fixtures().join("x.toml"), text).expect("the file is correct");
    let api = application.websocket_api.expect("the file has routes");
    assert_eq!((api.stage.name.as_str(), api.route_selection_expression.as_str()), ("prod", "$request.body.action"));
    assert_eq!((application.name.as_str(), api.id), ("routes", None));
    assert_eq!(application.functions["echo"].memory_mib, 512);
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let error = rejected("[routes]\nsend = \n");
    assert_eq!((error.line, error.column), (2, 8));
    assert!(error.message.starts_with("syntax error"), "{error}");
    assert!(error.to_string().contains("bad.toml:2:8: syntax error"), "{error}");
}

#[test]
fn an_unknown_key_has_a_suggestion() {
    let error = rejected_lines("[routes.send]\nfunction = \"send\"\ntwoway = true\n");
    assert_eq!(error.line, 5);
    assert_eq!(error.message, "unknown key routes.send.twoway");
    assert_eq!(error.fix, "did you mean two_way?");
    let error = rejected_lines("[routes]\na = 'send'\n[api]\nzzz = 1\n");
    assert!(error.fix.starts_with("known keys are authorization, id, selection"), "{error}");
}

#[test]
fn an_unknown_function_has_a_suggestion() {
    let error = rejected_lines("[routes]\nsend = \"snd\"\n");
    assert_eq!(error.message, "routes.send names the function snd, which does not exist");
    assert_eq!((error.line, error.fix.as_str()), (4, "did you mean send?"));
    let error = rejected_lines("[routes]\nx = \"other\"\n");
    assert_eq!(error.fix, "add a table [functions.other]");
}

#[test]
fn all_errors_are_reported_in_the_order_of_their_lines() {
    let error = rejected_lines("memory = 1\ntimeout = \"1h\"\n[routes]\na = \"send\"\n'$conect' = 'send'\n");
    let lines: Vec<usize> = std::iter::once(&error).chain(&error.further).map(|error| error.line).collect();
    assert_eq!(lines, [3, 4, 7], "{error}");
    assert!(error.message.starts_with("functions.send.memory is \"1\""), "{error}");
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn contradictions_are_rejected() {
    let cases = [
        ("routes.a = {}", "routes.a has 0 integrations"),
        ("routes.a = { function = 'send', mock = {} }", "routes.a has 2 integrations"),
        ("routes.a = { function = 'send', timeout = '30s' }", "routes.a.timeout is \"30s\""),
        ("routes.a = { http_proxy = {} }", "routes.a.http_proxy has no uri"),
        ("routes.a = { http_proxy = { uri = 'ftp://x' } }", "routes.a.http_proxy.uri is \"ftp://x\""),
        ("routes.a = { function = 'send', throttle = { rate = 1 } }", "routes.a.throttle needs rate and burst"),
        ("routes.a = { function = 'send', request_model = 'none.json' }", "routes.a.request_model: cannot read"),
        ("routes.a = { function = 'send', request_model = '{' }", "routes.a.request_model: its text is not JSON"),
        ("routes.a = { function = 'send', required_parameters = 'x' }", "routes.a.required_parameters has \"x\""),
        ("routes.a = 'send'\n[api]\nauthorization = 'JWT'", "api.authorization is \"JWT\""),
        ("routes.a = 'send'\n[api]\nauthorization = 'AWS_IAM'", "the file has an authorization, but no route $connect"),
        (
            "routes.'$connect' = 'send'\n[api]\nauthorization = 'NONE'\n[authorizer]\nfunction = 'send'",
            "the file has both",
        ),
        ("routes.a = 'send'\n[functions.x]", "functions.x has neither a command nor code"),
        ("routes.a = 'send'\n[functions.x]\ncommand = 'a'\ncode = 'code'", "functions.x has a command and runtime"),
        (
            "routes.a = 'send'\n[functions.x]\ncode = 'absent'\nruntime = 'python3.13'\nhandler = 'a.b'",
            "functions.x.code: ",
        ),
        ("routes.a = 'send'\n[functions.x]\ncode = 'code'\nruntime = 'python3.13'", "functions.x has no handler"),
        ("http_routes.'FETCH /' = 'send'", "\"FETCH /\" is not an HTTP route"),
        ("routes.a = 'send'\n[tables.t]", "tables.t has no partition_key"),
        ("[api]\nstage = 'x'", "the API has no routes"),
        ("", "the file has no routes"),
        ("routes = 1", "routes is a number"),
    ];
    for (lines, message) in cases {
        let text = format!("{lines}\n[functions.send]\ncommand = 'node send.js'\n");
        let error = rejected(&text);
        let mut all = std::iter::once(&error).chain(&error.further);
        assert!(all.any(|error| error.message.starts_with(message)), "{lines}: {error}");
        assert!(std::iter::once(&error).chain(&error.further).all(|error| !error.fix.is_empty()), "{lines}: {error}");
    }
}
