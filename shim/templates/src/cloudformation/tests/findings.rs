//! Templates that cannot be served, or not as a whole.

use super::{context, fixture, of_severity, read, read_in};
use crate::cloudformation::read_cloudformation;
use crate::context::ApplicationContext;
use crate::model::{CodeLocation, Integration, Severity};

const FUNCTION: &str = "
  F:
    Type: AWS::Lambda::Function
    Properties: { Runtime: nodejs22.x, Handler: a.b, Code: { ZipFile: x } }";

/// A WebSocket API with one route and its integration.
fn websocket(route: &str, integration: &str, resources: &str) -> String {
    format!(
        "Resources:
  Api: {{ Type: AWS::ApiGatewayV2::Api, Properties: {{ ProtocolType: WEBSOCKET, RouteSelectionExpression: $request.body.a }} }}
  Stage: {{ Type: AWS::ApiGatewayV2::Stage, Properties: {{ ApiId: !Ref Api, StageName: s }} }}
  R: {{ Type: AWS::ApiGatewayV2::Route, Properties: {{ ApiId: !Ref Api, Target: !Sub 'integrations/${{I}}', {route} }} }}
  I: {{ Type: AWS::ApiGatewayV2::Integration, Properties: {{ ApiId: !Ref Api, {integration} }} }}{FUNCTION}
{resources}"
    )
}

const PROXY: &str = "IntegrationType: AWS_PROXY, IntegrationUri: !GetAtt F.Arn";

fn messages(template: &str, severity: Severity) -> Vec<(usize, String)> {
    let application = read(template);
    of_severity(&application, severity).iter().map(|f| (f.location.line, f.message.clone())).collect()
}

/// Expects exactly one finding of the severity.
fn expect(template: &str, severity: Severity, line: usize, message: &str) {
    let found = messages(template, severity);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, line, "{found:#?}");
    assert!(found[0].1.starts_with(message), "{found:#?}");
}

fn syntax_error(text: &str) -> String {
    read_cloudformation(&fixture("chat/bad.yaml"), text, &context()).expect_err("the text has an error").to_string()
}

#[test]
fn syntax_errors_have_line_and_column() {
    let yaml = syntax_error("Resources:\n  A:\n    Type: x\n   B: [\n");
    assert!(yaml.contains("bad.yaml:4:"), "{yaml}");
    assert!(yaml.contains("syntax error"), "{yaml}");
    let json = syntax_error("{\n  \"Resources\": {\n    \"A\": ,\n  }\n}");
    assert!(json.contains("bad.yaml:3:"), "{json}");
    for (text, message) in [
        ("Resources:\n  A: { Type: x }\n  A: { Type: y }\n", ":3:3: the key A is there twice; the first is in line 2"),
        ("Resources:\n  A: !Reff x\n", ":2:6: unknown tag !Reff"),
        ("a: 1\n", ":1:1: the template has no Resources"),
        ("Resources:\n  A: { Typ: x }\n", ":2:3: the resource A has no Type"),
        ("Resources:\n  'Fn::ForEach::X': [a, [b], {}]\n", ":2:3: Fn::ForEach::X in Resources is not supported"),
        ("A: &a [*a]\n", ": the alias is inside the value that it names"),
    ] {
        let error = syntax_error(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn exponential_aliases_are_rejected() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = syntax_error(&text);
    assert!(error.contains("too large or too deep"), "{error}");
}

#[test]
fn anchors_and_merge_keys_are_read() {
    let template = "
Defaults: &defaults { Runtime: nodejs22.x, Handler: a.b }
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: { <<: *defaults, Handler: own.handler, Code: { ZipFile: x } }
";
    let application = read(template);
    let function = &application.functions["F"];
    assert_eq!((function.runtime.as_str(), function.handler.as_str()), ("nodejs22.x", "own.handler"));
    assert_eq!(function.code, CodeLocation::Inline("x".to_owned()));
}

#[test]
fn two_websocket_apis_need_a_selection() {
    let second = "  Other: { Type: AWS::ApiGatewayV2::Api, Properties: { ProtocolType: WEBSOCKET, RouteSelectionExpression: $request.body.b } }
  OtherStage: { Type: AWS::ApiGatewayV2::Stage, Properties: { ApiId: !Ref Other, StageName: o } }
  OtherRoute: { Type: AWS::ApiGatewayV2::Route, Properties: { ApiId: !Ref Other, RouteKey: x, Target: !Sub 'integrations/${I}' } }";
    let template = websocket("RouteKey: $default", PROXY, second);
    expect(
        &template,
        Severity::Error,
        9,
        "the template has 2 WebSocket APIs: Api (line 2), Other (line 9); select the one to serve",
    );
    let selected = ApplicationContext { websocket_api: Some("Other".to_owned()), ..context() };
    let application = read_in(&template, &selected);
    assert_eq!(application.findings, []);
    let api = application.websocket_api.expect("the API is selected");
    assert_eq!((api.stage.name.as_str(), api.routes.len(), api.routes[0].key.as_str()), ("o", 1, "x"));
    let unknown = ApplicationContext { websocket_api: Some("None".to_owned()), ..context() };
    let application = read_in(&template, &unknown);
    assert!(application.findings[0].message.starts_with("the template has no WebSocket API None"));
}

#[test]
fn integrations_of_other_services_are_refused_by_name() {
    let template =
        websocket("RouteKey: x", "IntegrationType: AWS, IntegrationUri: 'arn:aws:apigateway:r:sqs:path/q'", "");
    let found = messages(&template, Severity::Error);
    assert!(found[0].1.contains("no routes that can be served"), "{found:#?}");
    assert!(found[1].1.starts_with("the route x has an integration of type AWS, which is not supported"), "{found:#?}");
    let external = "IntegrationType: AWS_PROXY, IntegrationUri: 'arn:aws:lambda:r:1:function:other'";
    let found = messages(&websocket("RouteKey: x", external, ""), Severity::Error);
    assert!(found[1].1.starts_with("the function other is not in the template"), "{found:#?}");
}

#[test]
fn http_and_mock_integrations_are_read() {
    let http = "IntegrationType: HTTP_PROXY, IntegrationMethod: PUT, IntegrationUri: 'http://${stageVariables.host}/x', \
        RequestParameters: { integration.request.header.id: context.connectionId }";
    let template =
        websocket("RouteKey: x", http, "").replace("StageName: s", "StageName: s, StageVariables: { host: h1 }");
    let application = read(&template);
    let Some(Integration::HttpProxy { method, uri, request_parameters, .. }) =
        application.websocket_api.map(|api| api.routes[0].integration.clone())
    else {
        panic!("the route has an HTTP integration: {:#?}", application.findings);
    };
    assert_eq!((method.as_str(), uri.as_str()), ("PUT", "http://h1/x"));
    assert_eq!(request_parameters["integration.request.header.id"], "context.connectionId");
    let mock = "IntegrationType: MOCK, RequestTemplates: { '200': '{\"statusCode\":200}' }, TemplateSelectionExpression: '200'";
    let response = "  IR: { Type: AWS::ApiGatewayV2::IntegrationResponse, Properties: { ApiId: !Ref Api, IntegrationId: !Ref I, \
        IntegrationResponseKey: $default, ResponseTemplates: { '200': pong }, TemplateSelectionExpression: '200' } }";
    let application = read(&websocket("RouteKey: x", mock, response));
    let Some(Integration::Mock { template_selection, response_templates, .. }) =
        application.websocket_api.map(|api| api.routes[0].integration.clone())
    else {
        panic!("the route is a mock: {:#?}", application.findings);
    };
    assert_eq!((template_selection.as_deref(), response_templates["$default"].as_str()), (Some("200"), "pong"));
}

#[test]
fn a_route_response_makes_a_route_two_way() {
    let template = websocket("RouteKey: x, RouteResponseSelectionExpression: $default", PROXY, "");
    expect(&template, Severity::Warning, 4, "the route x has a RouteResponseSelectionExpression, but no");
    assert!(!read(&template).websocket_api.is_some_and(|api| api.routes[0].two_way));
    let response = "  RR: { Type: AWS::ApiGatewayV2::RouteResponse, Properties: { ApiId: !Ref Api, RouteId: !Ref R, RouteResponseKey: $default } }";
    let application = read(&websocket("RouteKey: x", PROXY, response));
    assert_eq!(application.findings, []);
    assert!(application.websocket_api.is_some_and(|api| api.routes[0].two_way));
}

#[test]
fn unsupported_access_controls_are_security_findings() {
    let authorizer = |kind: &str, uri: &str| {
        format!(
            "  A: {{ Type: AWS::ApiGatewayV2::Authorizer, Properties: {{ ApiId: !Ref Api, AuthorizerType: {kind}, AuthorizerUri: {uri} }} }}"
        )
    };
    let custom = "RouteKey: $connect, AuthorizationType: CUSTOM, AuthorizerId: !Ref A";
    let template = websocket(custom, PROXY, &authorizer("JWT", "!GetAtt F.Arn"));
    expect(&template, Severity::Security, 9, "the authorizer A has the type JWT");
    let template = websocket(custom, PROXY, &authorizer("REQUEST", "'arn:aws:lambda:r:1:function:other'"));
    expect(&template, Severity::Security, 9, "the function other is not in the template");
    let template = websocket("RouteKey: $connect, AuthorizationType: CUSTOM, AuthorizerId: a1b2", PROXY, "");
    expect(&template, Severity::Security, 4, "the authorizer \"a1b2\" of $connect is not in the template");
    let template = websocket("RouteKey: $connect, AuthorizationType: JWT", PROXY, "");
    expect(&template, Severity::Security, 4, "the authorization JWT of $connect is not supported");
    let domain = "  D: { Type: AWS::ApiGatewayV2::DomainName, Properties: { DomainName: a.b, MutualTlsAuthentication: { TruststoreUri: 's3://x' } } }";
    expect(&websocket("RouteKey: x", PROXY, domain), Severity::Security, 9, "client certificates");
    let waf = "  W: { Type: AWS::WAFv2::WebACLAssociation, Properties: { ResourceArn: x } }";
    expect(&websocket("RouteKey: x", PROXY, waf), Severity::Security, 9, "W (AWS::WAFv2::WebACLAssociation)");
}

#[test]
fn authorizers_of_http_apis_are_security_findings() {
    let template = "
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties: { Auth: { DefaultAuthorizer: Login, Authorizers: { Login: { JwtConfiguration: { issuer: x } } } } }
  F:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: nodejs22.x
      Handler: a.b
      InlineCode: x
      Events:
        Private: { Type: HttpApi, Properties: { Path: /a, Method: GET, ApiId: !Ref Api } }
        Open: { Type: HttpApi, Properties: { Path: /b, Method: GET, ApiId: !Ref Api, Auth: { Authorizer: NONE } } }
";
    expect(
        template,
        Severity::Security,
        13,
        "the HTTP route Private has the authorization Login, which is not checked",
    );
}

#[test]
fn functions_that_cannot_run_are_refused_by_name() {
    let function = |properties: &str| {
        format!("Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: {{ {properties} }}\n")
    };
    let cases = [
        ("PackageType: Image, ImageUri: x", 2, "the function F is a container image, which cannot be run"),
        (
            "Runtime: nodejs22.x, Handler: a.b, CodeUri: { Bucket: b, Key: k }",
            2,
            "the code of the function F is not a local path",
        ),
        ("Runtime: nodejs22.x, Handler: a.b, CodeUri: 's3://b/k'", 2, "the code of the function F is not a local path"),
        ("Handler: a.b, InlineCode: x", 2, "the function F has no Runtime"),
        ("Runtime: nodejs22.x, InlineCode: x", 2, "the function F has no Handler"),
        (
            "Runtime: nodejs22.x, Handler: a.b, InlineCode: x, DurableConfig: { ExecutionTimeout: 1 }",
            4,
            "the function F is a durable function",
        ),
        (
            "Runtime: nodejs22.x, Handler: a.b, InlineCode: x, Timeout: soon",
            4,
            "Timeout is \"soon\", but must be a whole number",
        ),
    ];
    for (properties, line, message) in cases {
        expect(&function(properties), Severity::Error, line, message);
    }
}

#[test]
fn code_that_a_build_must_produce_is_missing() {
    let function = |runtime: &str, handler: &str, code: &str| {
        let text = format!(
            "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: {{ Runtime: {runtime}, Handler: {handler}, CodeUri: {code} }}\n"
        );
        read(&text).functions["F"].code.clone()
    };
    let missing = |path: &str| CodeLocation::Missing { path: fixture(path), remedy: "sam build".to_owned() };
    assert_eq!(function("nodejs22.x", "app.handler", "onconnect"), CodeLocation::Directory(fixture("chat/onconnect")));
    assert_eq!(function("nodejs22.x", "main.handler", "onconnect"), missing("chat/onconnect/main.js"));
    assert_eq!(function("python3.13", "pkg.app.handler", "onconnect"), missing("chat/onconnect/pkg/app.py"));
    assert_eq!(function("provided.al2023", "bootstrap", "onconnect"), missing("chat/onconnect/bootstrap"));
    assert_eq!(function("java21", "com.example.App", "onconnect"), missing("chat/onconnect/lib"));
    assert_eq!(function("nodejs22.x", "app.handler", "absent"), missing("chat/absent"));
    assert_eq!(function("nodejs22.x", "onconnect/app.handler", "."), CodeLocation::Directory(fixture("chat/.")));
    let without_uri = "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: { Runtime: nodejs22.x, Handler: onconnect/app.handler }\n";
    assert_eq!(read(without_uri).functions["F"].code, CodeLocation::Directory(fixture("chat")));
}

#[test]
fn resources_of_other_services_are_warnings_with_name_and_line() {
    let template = "Resources:
  Pool: { Type: AWS::Cognito::UserPool }
  Role: { Type: AWS::IAM::Role }
  Alarm: { Type: AWS::CloudWatch::Alarm }
  Source: { Type: AWS::Lambda::EventSourceMapping }
  Custom: { Type: Custom::Thing }
";
    let found = messages(template, Severity::Warning);
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 5, 6], "{found:#?}");
    assert!(found[0].1.starts_with("Pool (AWS::Cognito::UserPool): the server does not provide it"), "{found:#?}");
    assert!(found[1].1.contains("does not get events"), "{found:#?}");
}

#[test]
fn errors_of_sam_websocket_apis_have_the_line_of_the_route() {
    let api = |properties: &str| {
        format!(
            "Resources:{FUNCTION}
  Api:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.action
{properties}"
        )
    };
    let routes = "      Routes:\n        $default: { FunctionArn: !GetAtt F.Arn }\n";
    let cases = [
        (
            "      Routes:\n        $default: { FunctionArn: !GetAtt G.Arn }\n        a: { FunctionArn: !GetAtt F.Arn }\n",
            10,
            "Fn::GetAtt names G",
        ),
        (
            "      Routes:\n        $default: {}\n        a: { FunctionArn: !GetAtt F.Arn }\n",
            10,
            "the route $default has no FunctionArn",
        ),
        (
            "      Routes:\n        $default: { FunctionArn: !GetAtt F.Arn, IntegrationTimeout: 30000 }\n",
            10,
            "IntegrationTimeout is \"30000\"",
        ),
        (
            "      Routes:\n        $default: { FunctionArn: !GetAtt F.Arn, RequestModels: { $default: M } }\n",
            10,
            "the model M is not in the template",
        ),
    ];
    for (properties, line, message) in cases {
        expect(&api(properties), Severity::Error, line, message);
    }
    for (auth, message) in [
        ("      Auth: { AuthType: AWS_IAM }\n", "the API Api has Auth, but no route $connect"),
        ("      Auth: { AuthType: CUSTOM, AuthArn: !GetAtt F.Arn }\n", "the API Api has Auth, but no route $connect"),
    ] {
        expect(&api(&format!("{routes}{auth}")), Severity::Security, 11, message);
    }
    let connect = routes.replace("$default", "$connect");
    expect(
        &api(&format!("{connect}      Auth: {{ AuthType: JWT }}\n")),
        Severity::Security,
        11,
        "the AuthType \"JWT\"",
    );
    let found = messages(&api("      Routes: !If [A, {}, {}]\n"), Severity::Error);
    assert_eq!(
        found.iter().filter(|(line, message)| *line == 9 && message.contains("no table Routes")).count(),
        1,
        "{found:#?}"
    );
    assert!(
        messages(&api(routes).replace("RouteSelectionExpression: $request.body.action", "Name: x"), Severity::Error)[0]
            .1
            .contains("has no RouteSelectionExpression")
    );
}
