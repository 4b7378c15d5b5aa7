//! Traffic of recording clients against servers that run elsewhere, while another program disturbs them: for clusters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::analysis::{InterruptionSummary, MessageCounts};
use super::latency::RunLatencies;
use super::recorder::{RunCounts, RunRecorder};
use super::traffic_client::{ClientRole, TrafficClient, TrafficPhase};
use crate::client::Client;
use crate::world::{TokenClaims, sign_token};

/// Members of a room.
const ROOM_SIZE: usize = 10;
/// Clients that connect per second at the start.
const CONNECTS_PER_SECOND: u32 = 50;
/// Timeout of each step except the disturbance.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// Interval between two checks of the recorder.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Servers, clients and disturbance of a run.
#[derive(Debug, Clone)]
pub struct RemotePlan {
    /// URL of the WebSocket API, `ws://host:port/stage`.
    pub url: String,
    /// Secret that signs the tokens.
    pub secret: String,
    /// Distinguishes the users and rooms of this run from those of others in the same log.
    pub run_id: String,
    /// Number of clients.
    pub connections: usize,
    /// Interval between two messages of a client.
    pub pace: Duration,
    /// Whether the clients send nothing.
    pub idle: bool,
    /// Shell command that runs while the clients send; the run fails if it fails.
    pub disturbance: String,
}

/// Results of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteReport {
    /// Number of clients.
    pub connections: usize,
    /// Whether the clients sent nothing.
    pub idle: bool,
    /// Duration of the disturbance, in milliseconds.
    pub disturbance_ms: u64,
    /// Message counts.
    pub messages: MessageCounts,
    /// Interruption times by the close code that ended the connections.
    pub interruptions: BTreeMap<u16, InterruptionSummary>,
    /// Latencies of handshakes and deliveries.
    pub latencies: RunLatencies,
    /// Further counts.
    #[serde(flatten)]
    pub counts: RunCounts,
}

impl RemoteReport {
    /// Returns whether no acknowledged message was lost or delivered twice.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        (self.idle || self.messages.acknowledged > 0) && self.messages.missing == 0 && self.messages.violations == 0
    }
}

impl fmt::Display for RemoteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageCounts { acknowledged, delivered, missing, violations, .. } = self.messages;
        let RunLatencies { connect, delivery } = self.latencies;
        writeln!(
            f,
            "{} clients, disturbance {} ms: {acknowledged} acknowledged, {delivered} delivered, {missing} missing, \
             {violations} violations; rejected handshakes {:?}",
            self.connections, self.disturbance_ms, self.counts.rejected_handshakes
        )?;
        for (code, InterruptionSummary { count, p50_ms, p99_ms, max_ms }) in &self.interruptions {
            writeln!(f, "interrupted ({code}) {count} times: p50 {p50_ms} ms, p99 {p99_ms} ms, longest {max_ms} ms")?;
        }
        write!(
            f,
            "connect p50 {} ms, p99 {} ms; delivery p50 {} ms, p99 {} ms, longest {} ms",
            connect.p50 / 1_000,
            connect.p99 / 1_000,
            delivery.p50 / 1_000,
            delivery.p99 / 1_000,
            delivery.max / 1_000
        )
    }
}

/// Connects the clients, runs the disturbance under their traffic, and returns the report.
///
/// # Errors
/// The disturbance fails, or a step does not complete in time.
pub async fn run_remote(plan: &RemotePlan) -> anyhow::Result<RemoteReport> {
    let (phase, _) = watch::channel(if plan.idle { TrafficPhase::Quiescing } else { TrafficPhase::Sending });
    let recorder = Arc::new(RunRecorder::default());
    let mut clients = start_clients(plan, &recorder, &phase);
    wait_for_traffic(plan, &recorder).await.context("before the disturbance")?;
    let started = StdInstant::now();
    let status = Command::new("sh").args(["-c", &plan.disturbance]).kill_on_drop(true).status().await;
    let status = status.context("starting the disturbance")?;
    ensure!(status.success(), "the disturbance failed: {status}");
    let disturbance_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    wait_for_traffic(plan, &recorder).await.context("after the disturbance")?;
    phase.send_replace(TrafficPhase::Quiescing);
    wait_until(&recorder, "the last acknowledgements", |recorder| recorder.counts().waiting == 0).await?;
    phase.send_replace(TrafficPhase::Closing);
    let left = async {
        while let Some(client) = clients.join_next().await {
            client.context("a client panicked")?;
        }
        anyhow::Ok(())
    };
    timeout(STEP_TIMEOUT, left).await.context("clients did not disconnect in time")??;
    Ok(RemoteReport {
        connections: plan.connections,
        idle: plan.idle,
        disturbance_ms,
        messages: recorder.message_counts(),
        interruptions: recorder.interruptions(),
        latencies: recorder.latencies(),
        counts: recorder.counts(),
    })
}

fn start_clients(plan: &RemotePlan, recorder: &Arc<RunRecorder>, phase: &watch::Sender<TrafficPhase>) -> JoinSet<()> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..plan.connections {
        let delay = Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / CONNECTS_PER_SECOND;
        let client = TrafficClient::new(role(plan, number, started + delay), recorder.clone(), phase.subscribe());
        clients.spawn(client.run());
    }
    clients
}

fn role(plan: &RemotePlan, number: usize, starts_at: Instant) -> ClientRole {
    let user = format!("{}-{number}", plan.run_id);
    let dial = Client::dial(&plan.url, &user).with_token(&sign_token(&plan.secret, &TokenClaims::user(&user)));
    let (room, conversation) = (format!("room:{}-{}", plan.run_id, number / ROOM_SIZE), format!("conversation:{user}"));
    let channels = vec![room.clone(), conversation.clone()];
    let targets = vec![room.clone(), room.clone(), room, conversation];
    ClientRole { number, dial, channels, targets, pace: plan.pace, starts_at }
}

/// Waits until all clients are connected and, unless they are idle, each has received five messages on average since.
async fn wait_for_traffic(plan: &RemotePlan, recorder: &RunRecorder) -> anyhow::Result<()> {
    wait_until(recorder, "all clients to be connected", |recorder| recorder.open_count() == plan.connections).await?;
    if plan.idle {
        return Ok(());
    }
    let enough = recorder.counts().delivered + 5 * plan.connections as u64;
    wait_until(recorder, "messages to flow", |recorder| recorder.counts().delivered >= enough).await
}

async fn wait_until(recorder: &RunRecorder, what: &str, holds: impl Fn(&RunRecorder) -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds(recorder) {
        ensure!(
            started.elapsed() < STEP_TIMEOUT,
            "waited {STEP_TIMEOUT:?} for {what}: {} connected, {:?}",
            recorder.open_count(),
            recorder.counts()
        );
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
