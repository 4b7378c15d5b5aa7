//! `GET /v1/status`: which version answers, what time it has, and how much is going on in the caller's tenant.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::caller::Caller;
use super::json;
use super::problem::Problem;
use crate::app::App;
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::ports::Timestamp;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: &'static str,
    time: Timestamp,
    tenant: String,
    connections: u64,
    occupied_channels: u64,
}

/// Answers the call; that it can is itself the news that the store of connections is there.
pub(super) async fn answer(app: &App, caller: &Caller) -> Result<Response<Bytes>, Problem> {
    let everyone = Audience::Channel(ChannelName::Everyone.within(caller.tenant.clone()));
    let connections = app.connections.members(&everyone, None, 1).await?.total;
    let occupied_channels = app.connections.occupied_channels(&caller.tenant, None, 1).await?.total;
    Ok(json(&Status {
        version: env!("CARGO_PKG_VERSION"),
        time: app.clock.now(),
        tenant: caller.tenant.to_string(),
        connections,
        occupied_channels,
    }))
}
