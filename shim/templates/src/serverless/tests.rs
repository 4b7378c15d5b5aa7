use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read_serverless;
use crate::context::ApplicationContext;
use crate::model::{Application, Authorization, CodeLocation, Finding, HttpPayload, RouteResource, Severity};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/serverless")
}

fn context() -> ApplicationContext {
    ApplicationContext { region: "eu-west-1".to_owned(), api_id: "abc123".to_owned(), ..ApplicationContext::default() }
}

fn example(context: &ApplicationContext) -> Application {
    let path = fixtures().join("serverless.yml");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    read_serverless(&path, &text, context).expect("the fixture is correct")
}

fn read(text: &str) -> Application {
    read_serverless(&fixtures().join("x.yml"), text, &context()).expect("the file is a service")
}

fn route<'a>(application: &'a Application, key: &str) -> &'a RouteResource {
    let api = application.websocket_api.as_ref().expect("the service has a WebSocket API");
    api.routes.iter().find(|route| route.key == key).expect("the route exists")
}

fn errors(application: &Application) -> Vec<&Finding> {
    application.findings.iter().filter(|finding| finding.severity > Severity::Warning).collect()
}

#[test]
fn websocket_events_are_read_in_short_and_long_form() {
    let application = example(&context());
    assert_eq!(errors(&application), Vec::<&Finding>::new());
    let api = application.websocket_api.as_ref().expect("the service has a WebSocket API");
    assert_eq!((api.route_selection_expression.as_str(), api.stage.name.as_str()), ("$request.body.type", "dev"));
    let pairs =
        [("$connect", "connect"), ("$disconnect", "connect"), ("sendMessage", "send-message"), ("$default", "bundled")];
    for (key, function) in pairs {
        assert_eq!(route(&application, key).integration.function(), Some(function), "{key}");
    }
    assert!(route(&application, "sendMessage").two_way && !route(&application, "$default").two_way);
    let identity_sources = vec!["route.request.querystring.token".to_owned()];
    let expected = Authorization::Custom { function: "auth".to_owned(), identity_sources };
    assert_eq!(route(&application, "$connect").authorization, expected);
    assert_eq!(route(&application, "sendMessage").location.line, 48);
}

#[test]
fn functions_have_the_defaults_of_the_provider() {
    let application = example(&context());
    let connect = &application.functions["connect"];
    assert_eq!((connect.name.as_str(), connect.runtime.as_str()), ("chat-dev-connect", "nodejs22.x"));
    assert_eq!((connect.timeout, connect.memory_mib), (Duration::from_secs(12), 1024));
    assert_eq!(connect.code, CodeLocation::Directory(fixtures().join(".")));
    assert_eq!(connect.location.element, "functions.connect");
    let send = &application.functions["send-message"];
    assert_eq!((send.memory_mib, send.reserved_concurrency), (256, Some(3)));
    assert_eq!(send.layers, [fixtures().join("src")]);
    assert_eq!(application.functions["auth"].name, "my-authorizer");
    assert_eq!(application.functions["bundled"].code, CodeLocation::Archive(fixtures().join("bundled.zip")));
}

#[test]
fn variables_are_replaced() {
    let application = example(&context());
    let connect = &application.functions["connect"].environment;
    let expected = [
        ("TABLE", "chat-dev-connections"),
        ("LIMIT", "10"),
        ("SHARED", "from-file"),
        ("HOME_DIR", "none"),
        ("ENDPOINT", "https://abc123.execute-api.eu-west-1.amazonaws.com/dev"),
    ];
    for (name, value) in expected {
        assert_eq!(connect[name], value, "{name}");
    }
    let send = &application.functions["send-message"].environment;
    assert_eq!((send["LIMIT"].as_str(), send.get("HOME_DIR")), ("7", None));
    assert_eq!(application.tables["ConnectionsTable"].name, "chat-dev-connections");
}

#[test]
fn options_and_environment_replace_defaults() {
    let options = [("stage".to_owned(), "prod".to_owned())].into();
    let environment = [("CHAT_HOME".to_owned(), "/srv".to_owned())].into();
    let application = example(&ApplicationContext { options, environment, ..context() });
    let connect = &application.functions["connect"].environment;
    assert_eq!((connect["LIMIT"].as_str(), connect["HOME_DIR"].as_str()), ("100", "/srv"));
    assert_eq!(application.websocket_api.map(|api| api.stage.name).as_deref(), Some("prod"));
}

#[test]
fn http_events_become_two_apis() {
    let application = example(&context());
    let [http, rest] = application.http_apis.as_slice() else { panic!("{:#?}", application.http_apis) };
    let route = &http.routes[0];
    assert_eq!((route.method.as_str(), route.path.as_str(), route.payload), ("GET", "/rooms/{id}", HttpPayload::V1));
    let route = &rest.routes[0];
    assert_eq!((rest.stage.as_str(), route.method.as_str(), route.path.as_str()), ("dev", "POST", "/old"));
    assert_eq!(route.function, "send-message");
}

#[test]
fn other_events_and_resources_are_warnings() {
    let application = example(&context());
    let found: Vec<&str> = application.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("the event schedule3 of the function send-message has the type schedule"),
        "{found:#?}"
    );
    assert!(found[1].starts_with("Uploads (AWS::S3::Bucket)"), "{found:#?}");
}

#[test]
fn variables_without_value_are_errors_where_they_are_used() {
    let service = |value: &str| {
        format!(
            "service: s\nprovider: {{ name: aws, stage: dev }}\ncustom: {{ a: '${{self:custom.b}}', b: '${{self:custom.a}}' }}
functions:
  f:
    handler: src/handler.f
    environment:
      V: {value}
    events: [{{ websocket: $default }}]
"
        )
    };
    let cases = [
        ("${env:MISSING}", "the variable ${env:MISSING} has no value; set the environment variable MISSING"),
        ("${opt:size}", "the variable ${opt:size} has no value; give the option size"),
        ("${ssm:/a}", "the variable ${ssm:/a} has no value; values of AWS services are not read; add a default"),
        ("x-${self:custom.zzz}", "the variable ${self:custom.zzz} has no value; add the value or a default"),
        ("${self:custom.a}", "the variables refer to each other in a circle"),
        (
            "${file(absent.yml):x}",
            "the variable ${file(absent.yml):x} has no value; create absent.yml, or add a default",
        ),
        (
            "x${self:provider}",
            "the variable ${self:provider} is a table, but is part of a text; use a variable that is a text",
        ),
    ];
    for (value, message) in cases {
        let application = read(&service(value));
        let errors = errors(&application);
        assert_eq!(errors.len(), 1, "{value}: {errors:#?}");
        assert_eq!((errors[0].location.line > 0, errors[0].message.as_str()), (true, message), "{value}");
    }
    assert_eq!(read(&service("${param:p, env:NONE, 'last'}")).functions["f"].environment["V"], "last");
    assert_eq!(read(&service("${strange:x}")).functions["f"].environment["V"], "${strange:x}");
}

#[test]
fn authorizers_have_a_default_source_or_are_security_findings() {
    let service = |event: &str| {
        format!(
            "service: s\nprovider: {{ name: aws }}\nfunctions:\n  f:\n    handler: src/handler.f\n    events: [{event}]\n"
        )
    };
    let application = read(&service("{ websocket: { route: $connect, authorizer: f } }"));
    let identity_sources = vec!["route.request.header.Auth".to_owned()];
    let expected = Authorization::Custom { function: "f".to_owned(), identity_sources };
    assert_eq!(route(&application, "$connect").authorization, expected);
    let application = read(&service("{ websocket: { route: $connect, authorizer: aws_iam } }"));
    assert_eq!(route(&application, "$connect").authorization, Authorization::Iam);
    for event in [
        "{ websocket: { route: $connect, authorizer: { arn: 'arn:aws:lambda:r:1:function:other' } } }",
        "{ httpApi: { path: /a, method: GET, authorizer: { name: jwt } } }",
        "{ http: { path: /a, method: GET, private: true } }",
    ] {
        let application = read(&service(event));
        assert_eq!(
            errors(&application).first().map(|f| f.severity),
            Some(Severity::Security),
            "{event}: {:#?}",
            application.findings
        );
    }
}

#[test]
fn files_that_are_no_services_of_aws_are_rejected() {
    for (text, message) in [
        ("service: s\nfunctions: {}\n", "the file has no provider"),
        ("service: s\nprovider: { name: google }\n", "the provider is google"),
        ("service: s\nprovider: aws\n", "the file has no functions"),
    ] {
        let error = read_serverless(&fixtures().join("x.yml"), text, &context()).expect_err("the file is rejected");
        assert!(error.message.starts_with(message) && !error.fix.is_empty(), "{error}");
    }
}
