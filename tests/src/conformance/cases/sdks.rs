//! SG-1 to SG-4 and UR-1 to UR-8: signatures, and the URLs that SDKs build.

use anyhow::ensure;
use futures_util::FutureExt as _;

use crate::conformance::client::ManagementRequest;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*};
use crate::conformance::world::CaseWorld;

/// A signature as SDKs make them, of nobody.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "SG-1",
        Documented,
        "Calls are signed for the service `execute-api` and checked against `execute-api:ManageConnections`.",
        "the same where `server.management` is `iam`",
        |world| super::signatures::manage(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-2",
        Documented,
        "The canonical path of a signature is encoded a second time.",
        "the same where `server.management` is `iam`",
        |world| super::signatures::double_encoding(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-3",
        Documented,
        "The SDK for Rust sends no `x-amz-content-sha256`.",
        "the header is not needed",
        |world| signed(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-4",
        Documented,
        "SDKs post with the content type `application/octet-stream` unless told otherwise.",
        "any content type is taken, and none",
        |world| signed(world).boxed(),
    ),
    ConformanceRow::holds(
        "UR-1",
        Documented,
        "The SDK for JavaScript appends `/@connections/` and the encoded id to the endpoint's path.",
        "that URL works",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-2",
        Reported,
        "boto3 appends `/@connections/` and the id with `%3D` to the endpoint.",
        "that URL works",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-3",
        Reported,
        "The SDK for PHP loses the stage when the endpoint has no slash at its end.",
        "that URL works as well: it is taken for an empty mapping of a custom domain",
        |world| url(world, "/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-4",
        Documented,
        "The SDK for Rust leaves `@` as it is and encodes the id.",
        "that URL works",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::not_applicable(
        "UR-5",
        Reported,
        "Without an endpoint SDKs call a host of the region that does not exist.",
        "it is said of SDKs; such a call reaches no gateway at all",
    ),
    ConformanceRow::not_applicable(
        "UR-6",
        Documented,
        "Handlers call `https://{domainName}/{stage}` or the API's own host; both must lead to the gateway.",
        "names and certificates are the deployment's to arrange; the gateway answers under any of them",
    ),
    ConformanceRow::not_applicable(
        "UR-7",
        Inferred,
        "`AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI` counts only where the code sets no endpoint.",
        "it is said of SDKs",
    ),
    ConformanceRow::not_applicable(
        "UR-8",
        Reported,
        "SDK calls have no total timeout, so an endpoint that cannot be reached hangs the handler.",
        "it is said of SDKs; the client then sees row 3.2-9",
    ),
];

async fn signed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_unsigned_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let call = || ManagementRequest::new("POST", &api.place, &id).header("Authorization", SIGNED).body("x");
    for call in
        [call(), call().header("Content-Type", "application/octet-stream").header("X-Amz-Date", "20261121T000000Z")]
    {
        ensure!(api.call(call).await?.head.status == 200);
        ensure!(client.text().await? == "x");
    }
    Ok(())
}

async fn url(world: &CaseWorld, form: &str) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let path = form.replace("{stage}", &api.place.path()).replace("{encoded}", &id.replace('=', "%3D"));
    let answer = api.call(ManagementRequest::new("POST", &api.place, &id).path(&path).body("x")).await?;
    ensure!(answer.head.status == 200, "{path} was answered {}", answer.head.status);
    ensure!(client.text().await? == "x");
    Ok(())
}
