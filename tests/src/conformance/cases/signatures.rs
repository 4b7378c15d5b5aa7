//! Signed requests: handshakes with IAM authorization, and signed `@connections` calls.

use anyhow::ensure;
use gateway::api::AuthorizationType;
use serde_json::{Value, json};
use shim::config::ManagementAccess;

use crate::conformance::client::{ConformanceClient, HandshakeBuilder, ManagementRequest, TestSigner};
use crate::conformance::event::EventKind;
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

const ALICE: TestSigner = TestSigner { access_key: "AKIDALICE", secret: "secret/of+alice" };
const WRONG_SECRET: TestSigner = TestSigner { secret: "another-secret", ..ALICE };
const UNKNOWN_KEY: TestSigner = TestSigner { access_key: "AKIDUNKNOWN", ..ALICE };

const CONNECT_ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$connect";
const POST_ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/POST/@connections/*";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// Returns an API whose `$connect` requires signatures, with a policy that allows Alice `action` on `resource`.
async fn signed_api(world: &CaseWorld, action: &str, resource: &str) -> anyhow::Result<Api> {
    let mut spec = ApiSpec::special("IAM authorization of $connect", |spec| {
        spec.definition.settings.authorization = AuthorizationType::Iam;
    });
    spec.callers = ALICE.allow_action(action, resource)?;
    world.api(spec).await
}

async fn expect_rejected(api: &Api, dial: HandshakeBuilder, error: &str, message: &str) -> anyhow::Result<()> {
    let rejection = api.expect_rejection(dial).await?;
    let name = rejection.head.header("x-amzn-errortype").unwrap_or_default();
    ensure!((rejection.head.status, name) == (403, error), "the response is {} {name:?}", rejection.head.status);
    let body: Value = serde_json::from_slice(&rejection.body)?;
    ensure!(body["message"] == message, "the body is {body}");
    Ok(())
}

/// Checks that signatures in headers and in the query open a connection, and that a missing or wrong signature or a
/// missing permission returns 403.
pub(super) async fn connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api = signed_api(world, "execute-api:Invoke", CONNECT_ARN).await?;
    let endpoint = &api.endpoint;
    for dial in [ALICE.dial(endpoint)?, ALICE.presigned(endpoint)?] {
        api.dial(dial).await?.expect_no_reply().await?;
    }
    expect_rejected(
        &api,
        HandshakeBuilder::new(),
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
    .await?;
    for dial in
        [WRONG_SECRET.dial(endpoint)?, WRONG_SECRET.presigned(endpoint)?, ALICE.presigned(endpoint)?.query("more=1")]
    {
        expect_rejected(&api, dial, "InvalidSignatureException", MISMATCH).await?;
    }
    let unknown = "The security token included in the request is invalid.";
    expect_rejected(&api, UNKNOWN_KEY.dial(endpoint)?, "UnrecognizedClientException", unknown).await?;
    ensure!(api.count(EventKind::Connect).await? == 2, "$connect ran for a rejected handshake");

    let other = signed_api(world, "execute-api:Invoke", &CONNECT_ARN.replace("prod", "test")).await?;
    let rejection = other.expect_rejection(ALICE.dial(&other.endpoint)?).await?;
    ensure!(rejection.head.status == 403, "the status is {}", rejection.head.status);
    Ok(())
}

/// Checks that every event contains the identity of the signer.
pub(super) async fn identity(world: &CaseWorld) -> anyhow::Result<()> {
    let api = signed_api(world, "execute-api:*", "*").await?;
    let (mut client, connect) = api.connected(ALICE.dial(&api.endpoint)?).await?;
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

/// Returns a connection of an API whose `@connections` requires signatures; Alice may only post.
async fn managed(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let mut spec = ApiSpec::special("signing callers", |spec| spec.management = ManagementAccess::Iam);
    spec.callers = ALICE.allow_action("execute-api:ManageConnections", POST_ARN)?;
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// Checks that a signed call succeeds if the caller's policy allows it.
pub(super) async fn manage(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    for body in [&b"hello"[..], b"", &[b'x'; 30_000]] {
        let reply =
            api.call(ALICE.call(&api.endpoint, ManagementRequest::new("POST", &api.endpoint, &id).body(body))?).await?;
        ensure!(reply.head.status == 200, "the reply is {:?}", reply.error());
        ensure!(client.text().await?.as_bytes() == body);
    }
    denied(world).await
}

/// Checks that the path is signed as SDKs send it, encoded twice, and that the signature is valid for every spelling
/// of the path.
pub(super) async fn double_encoding(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    let encoded = id.replace('=', "%3D");
    for path in ["/prod/@connections/", "/prod/%40connections/"].map(|path| format!("{path}{encoded}")) {
        let call = ManagementRequest::new("POST", &api.endpoint, &id).path(&path).body("x");
        let reply = api.call(ALICE.call(&api.endpoint, call.clone())?).await?;
        ensure!(reply.head.status == 200, "{path} returned {:?}", reply.error());
        ensure!(client.text().await? == "x");
        let mut changed = ALICE.call(&api.endpoint, call)?;
        changed.path = path.replace("%3D", "=");
        let reply = api.call(changed).await?;
        ensure!(reply.error() == (403, Some("InvalidSignatureException")), "the reply is {:?}", reply.error());
    }
    Ok(())
}

/// Checks the errors for a missing and for a wrong signature, both known to SDKs.
pub(super) async fn rejected_callers(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    let call = || ManagementRequest::new("POST", &api.endpoint, &id).body("x");
    let reply = api.call(call()).await?;
    ensure!(reply.error() == (403, Some("MissingAuthenticationTokenException")), "the reply is {:?}", reply.error());
    ensure!(reply.text() == r#"{"message":"Missing Authentication Token"}"#, "the body is {}", reply.text());
    let tampered = ALICE.call(&api.endpoint, call())?.body("y");
    for call in [WRONG_SECRET.call(&api.endpoint, call())?, tampered] {
        let reply = api.call(call).await?;
        ensure!(reply.error() == (403, Some("InvalidSignatureException")), "the reply is {:?}", reply.error());
        let expected = json!({"message": MISMATCH}).to_string();
        ensure!(reply.text() == expected, "the body is {}", reply.text());
    }
    let reply = api.call(call().header("Authorization", "Bearer x")).await?;
    ensure!(reply.error() == (403, Some("IncompleteSignatureException")), "the reply is {:?}", reply.error());
    client.expect_no_reply().await
}

/// Checks that a denied caller receives the missing permission.
pub(super) async fn denied(world: &CaseWorld) -> anyhow::Result<()> {
    let (api, mut client, id) = managed(world).await?;
    for method in ["GET", "DELETE"] {
        let reply = api.call(ALICE.call(&api.endpoint, ManagementRequest::new(method, &api.endpoint, &id))?).await?;
        ensure!(reply.error() == (403, Some("AccessDeniedException")), "the reply is {:?}", reply.error());
        let message = format!(
            "User: {} is not authorized to perform: execute-api:ManageConnections on resource: \
             arn:aws:execute-api:us-east-1:********9012:a1b2c3d4e5/prod/{method}/@connections/{id}",
            ALICE.arn()
        );
        let expected = json!({"Message": message}).to_string();
        ensure!(reply.text() == expected, "the body is {}", reply.text());
    }
    client.expect_no_reply().await
}
