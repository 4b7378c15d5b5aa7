//! `GET /v1/status`: version and time of the server, and counts of the caller's tenant.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::caller::ApiCaller;
use super::json_response;
use super::problem::ProblemDetails;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::ports::Timestamp;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantStatus {
    version: &'static str,
    time: Timestamp,
    tenant: String,
    connections: u64,
    occupied_channels: u64,
}

/// Handles the request. A successful response also shows that the connection store is available.
pub(super) async fn tenant_status(app: &MessagingApp, caller: &ApiCaller) -> Result<Response<Bytes>, ProblemDetails> {
    let everyone = Audience::Channel(ChannelName::Everyone.in_tenant(caller.tenant.clone()));
    let connections = app.connections.list_members(&everyone, None, 1).await?.total;
    let occupied_channels = app.connections.occupied_channels(&caller.tenant, None, 1).await?.total;
    Ok(json_response(&TenantStatus {
        version: env!("CARGO_PKG_VERSION"),
        time: app.clock.now(),
        tenant: caller.tenant.to_string(),
        connections,
        occupied_channels,
    }))
}
