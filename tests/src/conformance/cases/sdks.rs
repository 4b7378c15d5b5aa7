//! SG-1 to SG-4 and UR-1 to UR-8: signatures and URLs of SDKs.

use anyhow::ensure;
use futures_util::FutureExt as _;

use crate::conformance::client::ManagementRequest;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*};
use crate::conformance::world::CaseWorld;

/// Signature in the format of SDKs, with invented credentials.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/execute-api/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "SG-1",
        Documented,
        "Calls are signed for the service `execute-api` and authorized for `execute-api:ManageConnections`.",
        "the same on the traffic port; a listener of its own serves unsigned calls of the same machine",
        |world| super::signatures::manage(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-2",
        Documented,
        "The canonical path of a signature is encoded twice.",
        "the same on the traffic port",
        |world| super::signatures::double_encoding(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-3",
        Documented,
        "The SDK for Rust sends no `x-amz-content-sha256`.",
        "the header is not required",
        |world| signed(world).boxed(),
    ),
    ConformanceRow::holds(
        "SG-4",
        Documented,
        "SDKs post with the content type `application/octet-stream` by default.",
        "any content type is accepted, and none",
        |world| signed(world).boxed(),
    ),
    ConformanceRow::holds(
        "UR-1",
        Documented,
        "The SDK for JavaScript appends `/@connections/` and the encoded id to the endpoint's path.",
        "that URL is accepted",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-2",
        Reported,
        "boto3 appends `/@connections/` and the id with `%3D` to the endpoint.",
        "that URL is accepted",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-3",
        Reported,
        "The SDK for PHP drops the stage when the endpoint has no trailing slash.",
        "that URL is accepted as well: it is treated as an empty mapping of a custom domain",
        |world| url(world, "/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::holds(
        "UR-4",
        Documented,
        "The SDK for Rust does not encode `@`, but encodes the id.",
        "that URL is accepted",
        |world| url(world, "{stage}/@connections/{encoded}").boxed(),
    ),
    ConformanceRow::not_applicable(
        "UR-5",
        Reported,
        "Without an endpoint SDKs call a regional host that does not exist.",
        "a property of SDKs; such a call reaches no gateway",
    ),
    ConformanceRow::not_applicable(
        "UR-6",
        Documented,
        "Handlers call `https://{domainName}/{stage}` or the API's own host; both must resolve to the gateway.",
        "functions of this server reach it under both names, without DNS and public certificates (ADR 43; tested with SDKs of six languages); for other callers the deployment provides names and certificates",
    ),
    ConformanceRow::not_applicable(
        "UR-7",
        Inferred,
        "`AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI` is used only if the code sets no endpoint.",
        "a property of SDKs",
    ),
    ConformanceRow::not_applicable(
        "UR-8",
        Reported,
        "SDK calls have no total timeout, so an unreachable endpoint blocks the handler.",
        "a property of SDKs; row 3.2-9 covers the effect for the client",
    ),
];

async fn signed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_unsigned_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let call = || ManagementRequest::new("POST", &api.endpoint, &id).header("Authorization", SIGNED).body("x");
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
    let path = form.replace("{stage}", &api.endpoint.path()).replace("{encoded}", &id.replace('=', "%3D"));
    let reply = api.call(ManagementRequest::new("POST", &api.endpoint, &id).path(&path).body("x")).await?;
    ensure!(reply.head.status == 200, "{path} returned {}", reply.head.status);
    ensure!(client.text().await? == "x");
    Ok(())
}
