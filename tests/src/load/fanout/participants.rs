//! Participants of a fan-out run: receivers and publishers, connected and, where the plan says so, subscribed.
//!
//! Nothing is published before every receiver is ready, so a missing delivery is lost and not early.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{FanoutPlan, FanoutTraffic, receive};
use crate::load::connection::{Connection, ReadBuffer};
use crate::load::dialer::Dialer;
use crate::websocket::{self, opcode};

/// Timeout of the reply to the first frame.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the receivers' connections and spawns a reading task for each.
///
/// # Errors
/// A connection cannot be opened or subscribed.
pub async fn open_receivers(plan: &FanoutPlan, traffic: &FanoutTraffic) -> anyhow::Result<JoinSet<anyhow::Error>> {
    let dialer = Dialer::new(&plan.options)?;
    let mut receivers = JoinSet::new();
    for number in 0..plan.receivers {
        let mut connection =
            dialer.open(number as usize).await.with_context(|| format!("opening receiver {number}"))?;
        subscribe(plan, &mut connection, &traffic.buffer)
            .await
            .with_context(|| format!("subscribing receiver {number}"))?;
        receivers.spawn_local(receive(connection, traffic.clone(), plan.publishers as usize));
    }
    Ok(receivers)
}

/// Opens the publishers' connections.
///
/// # Errors
/// A connection cannot be opened or subscribed.
pub async fn open_publishers(plan: &FanoutPlan, buffer: &ReadBuffer) -> anyhow::Result<Vec<Connection>> {
    let mut options = plan.options.clone();
    if let Some(url) = &plan.publish_url {
        options.url.clone_from(url);
    }
    if let Some(path) = &plan.publish_token_file {
        options.token = None;
        options.token_file = Some(path.clone());
    }
    let dialer = Dialer::new(&options)?;
    let mut publishers = Vec::new();
    for number in 0..plan.publishers {
        let mut connection =
            dialer.open(number as usize).await.with_context(|| format!("opening publisher {number}"))?;
        if plan.publishers_subscribe {
            subscribe(plan, &mut connection, buffer)
                .await
                .with_context(|| format!("subscribing publisher {number}"))?;
        }
        publishers.push(connection);
    }
    Ok(publishers)
}

/// Sends the first frame and waits for its reply, if the plan has them.
async fn subscribe(plan: &FanoutPlan, connection: &mut Connection, buffer: &ReadBuffer) -> anyhow::Result<()> {
    if let Some(first) = &plan.subscribe_frame {
        connection.send(&websocket::encode(opcode::TEXT, first.as_bytes()))?;
    }
    let Some(marker) = &plan.subscribed_marker else { return Ok(()) };
    let reply = connection.until_message(buffer, marker.as_bytes());
    timeout(SUBSCRIBE_TIMEOUT, reply).await.with_context(|| format!("no frame with `{marker}` arrived"))?
}
