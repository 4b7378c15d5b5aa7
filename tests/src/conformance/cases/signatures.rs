//! Cases of signed requests: handshakes with IAM authorization, and calls of `@connections` by callers who sign.

use anyhow::ensure;
use gateway::api::AuthorizationType;
use serde_json::{Value, json};
use shim::config::ManagementAccess;

use crate::conformance::client::{ConformanceClient, HandshakeBuilder, ManagementRequest, TestSigner};
use crate::conformance::event::EventKind;
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

const ALICE: TestSigner = TestSigner { access_key: "AKIDALICE", secret: "secret/of+alice" };
const IMPOSTOR: TestSigner = TestSigner { secret: "another-secret", ..ALICE };
const NOBODY: TestSigner = TestSigner { access_key: "AKIDNOBODY", ..ALICE };

const CONNECT_ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$connect";
const POST_ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// An API whose `$connect` asks for signatures, and where Alice may do `action` to `resource`.
async fn signed_api(world: &CaseWorld, action: &str, resource: &str) -> anyhow::Result<Api> {
    let mut spec = ApiSpec::special("IAM authorization of $connect", |spec| {
        spec.definition.settings.authorization = AuthorizationType::Iam;
    });
    spec.callers = ALICE.allow_action(action, resource)?;
    world.api(spec).await
}

async fn refused(api: &Api, dial: HandshakeBuilder, error: &str, message: &str) -> anyhow::Result<()> {
    let refusal = api.expect_rejection(dial).await?;
    let name = refusal.head.header("x-amzn-errortype").unwrap_or_default();
    ensure!((refusal.head.status, name) == (403, error), "answered {} {name:?}", refusal.head.status);
    let body: Value = serde_json::from_slice(&refusal.body)?;
    ensure!(body["message"] == message, "the body is {body}");
    Ok(())
}

/// Signatures in headers and in the query open a connection; without one, with a wrong one, or without the right to, 403.
pub(super) async fn connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api = signed_api(world, "execute-api:Invoke", CONNECT_ARN).await?;
    let place = &api.place;
    for dial in [ALICE.dial(place)?, ALICE.presigned(place)?] {
        api.dial(dial).await?.expect_no_reply().await?;
    }
    refused(&api, HandshakeBuilder::new(), "MissingAuthenticationTokenException", "Missing Authentication Token")
        .await?;
    for dial in [IMPOSTOR.dial(place)?, IMPOSTOR.presigned(place)?, ALICE.presigned(place)?.query("more=1")] {
        refused(&api, dial, "InvalidSignatureException", MISMATCH).await?;
    }
    let unknown = "The security token included in the request is invalid.";
    refused(&api, NOBODY.dial(place)?, "UnrecognizedClientException", unknown).await?;
    ensure!(api.count(EventKind::Connect).await? == 2, "$connect ran for a handshake that was refused");

    let other = signed_api(world, "execute-api:Invoke", &CONNECT_ARN.replace("prod", "test")).await?;
    let refusal = other.expect_rejection(ALICE.dial(&other.place)?).await?;
    ensure!(refusal.head.status == 403, "the status is {}", refusal.head.status);
    Ok(())
}

/// Every event shows whose signature opened the connection.
pub(super) async fn identity(world: &CaseWorld) -> anyhow::Result<()> {
    let api = signed_api(world, "execute-api:*", "*").await?;
    let (mut client, connect) = api.connected(ALICE.dial(&api.place)?).await?;
    client.send_directive(json!({})).await?;
    for event in [connect, api.next(EventKind::Message).await?] {
        let mut identity = event.value["requestContext"]["identity"].clone();
        identity["sourceIp"].take();
        let expected = json!({
            "accountId": "123456789012", "caller": "AIDAEXAMPLE", "accessKey": "AKIDALICE", "userArn": ALICE.arn(),
            "user": "AIDAEXAMPLE", "sourceIp": null,
        });
        ensure!(identity == expected, "{identity}");
    }
    Ok(())
}

/// A connection of an API whose `@connections` asks for signatures; Alice may post and nothing else.
async fn managed(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let mut spec = ApiSpec::special("callers who sign", |spec| spec.management = ManagementAccess::Iam);
    spec.callers = ALICE.allow_action("execute-api:ManageConnections", POST_ARN)?;
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// A signed call by somebody whose policy allows it does what it says.
pub(super) async fn manage(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    for body in [&b"hello"[..], b"", &[b'x'; 30_000]] {
        let answer =
            api.call(ALICE.call(&api.place, ManagementRequest::new("POST", &api.place, &id).body(body))?).await?;
        ensure!(answer.head.status == 200, "answered {:?}", answer.error());
        ensure!(client.text().await?.as_bytes() == body);
    }
    denied(world).await
}

/// The path is signed as SDKs send it, encoded once more; however it is written, the signature holds.
pub(super) async fn double_encoding(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    let encoded = id.replace('=', "%3D");
    for path in ["/prod/@connections/", "/prod/%40connections/"].map(|path| format!("{path}{encoded}")) {
        let call = ManagementRequest::new("POST", &api.place, &id).path(&path).body("x");
        let answer = api.call(ALICE.call(&api.place, call.clone())?).await?;
        ensure!(answer.head.status == 200, "{path} was answered {:?}", answer.error());
        ensure!(client.text().await? == "x");
        let mut moved = ALICE.call(&api.place, call)?;
        moved.path = path.replace("%3D", "=");
        let answer = api.call(moved).await?;
        ensure!(answer.error() == (403, Some("InvalidSignatureException")), "answered {:?}", answer.error());
    }
    Ok(())
}

/// Without a signature and with a wrong one, the two refusals that SDKs know.
pub(super) async fn not_let_in(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    let call = || ManagementRequest::new("POST", &api.place, &id).body("x");
    let answer = api.call(call()).await?;
    ensure!(answer.error() == (403, Some("MissingAuthenticationTokenException")), "answered {:?}", answer.error());
    ensure!(answer.text() == r#"{"message":"Missing Authentication Token"}"#, "the body is {}", answer.text());
    let tampered = ALICE.call(&api.place, call())?.body("y");
    for call in [IMPOSTOR.call(&api.place, call())?, tampered] {
        let answer = api.call(call).await?;
        ensure!(answer.error() == (403, Some("InvalidSignatureException")), "answered {:?}", answer.error());
        let expected = json!({"message": MISMATCH}).to_string();
        ensure!(answer.text() == expected, "the body is {}", answer.text());
    }
    let answer = api.call(call().header("Authorization", "Bearer x")).await?;
    ensure!(answer.error() == (403, Some("IncompleteSignatureException")), "answered {:?}", answer.error());
    client.expect_no_reply().await
}

/// A caller whose policy does not allow a call learns which right it lacks.
pub(super) async fn denied(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    for method in ["GET", "DELETE"] {
        let answer = api.call(ALICE.call(&api.place, ManagementRequest::new(method, &api.place, &id))?).await?;
        ensure!(answer.error() == (403, Some("AccessDeniedException")), "answered {:?}", answer.error());
        let message = format!(
            "User: {} is not authorized to perform: execute-api:ManageConnections on resource: \
             arn:aws:execute-api:us-east-1:********9012:a1b2c3d4e5/prod/{method}/@connections/{id}",
            ALICE.arn()
        );
        let expected = json!({"Message": message}).to_string();
        ensure!(answer.text() == expected, "the body is {}", answer.text());
    }
    client.expect_no_reply().await
}
