//! Who takes part in a fan-out: receivers and publishers, connected and, where the plan says so, subscribed.
//!
//! Invariant: nothing is published before every receiver is ready, so what does not arrive is lost and not early.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{FanoutPlan, FanoutTraffic, receive};
use crate::load::connection::{Connection, ReadBuffer};
use crate::load::dialer::Dialer;
use crate::websocket::{self, opcode};

/// How long the answer to the first frame may take.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// Opens the receivers' connections; each is read from then on, in a task of its own.
///
/// # Errors
/// When one does not come about.
pub async fn open_receivers(plan: &FanoutPlan, traffic: &FanoutTraffic) -> anyhow::Result<JoinSet<anyhow::Error>> {
    let dialer = Dialer::new(&plan.opening)?;
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
/// When one does not come about.
pub async fn open_publishers(plan: &FanoutPlan, buffer: &ReadBuffer) -> anyhow::Result<Vec<Connection>> {
    let mut opening = plan.opening.clone();
    if let Some(url) = &plan.publish_url {
        opening.url.clone_from(url);
    }
    if let Some(path) = &plan.publish_token_file {
        opening.token = None;
        opening.token_file = Some(path.clone());
    }
    let dialer = Dialer::new(&opening)?;
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

/// Sends the first frame and waits for its answer, as far as the plan has them.
async fn subscribe(plan: &FanoutPlan, connection: &mut Connection, buffer: &ReadBuffer) -> anyhow::Result<()> {
    if let Some(first) = &plan.subscribe_frame {
        connection.send(&websocket::encode(opcode::TEXT, first.as_bytes()))?;
    }
    let Some(marker) = &plan.subscribed_marker else { return Ok(()) };
    let answered = connection.until_message(buffer, marker.as_bytes());
    timeout(SUBSCRIBE_DEADLINE, answered).await.with_context(|| format!("there was no frame with `{marker}`"))?
}
