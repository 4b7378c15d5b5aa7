//! The scene of a run: pods, what is between them and Redis, clients, and a backend.
//!
//! Invariant: a run begins when everybody is connected, and ends when nobody is: every message acknowledged, every client
//! caught up, every pod stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::backend::{push_messages, wait_for_presence};
use super::disconnect_audit::audit_disconnects;
use super::fault_report::{DRAIN_BATCH_SIZE, DRAIN_INTERVAL, FaultReport};
use super::recorder::RunRecorder;
use super::traffic_client::{ClientRole, TrafficClient, TrafficPhase};
use super::{FaultPlan, InjectedFault, TcpProxy};
use crate::client::Client;
use crate::client::http::HttpCaller;
use crate::pod_cluster::{PodCluster, durable_redis, launch_pod};
use crate::server::{SECRET, ServerExit, ServerLaunch};
use crate::world::{TokenClaims, sign_token};

/// How many pods there are.
const PODS: usize = 3;
/// How many members a room has.
const ROOM_SIZE: usize = 10;
/// What everybody reads.
const TOPIC: &str = "topic:news";
/// How long between two messages to everybody, for each of them: 1,000 deliveries per second, whatever the size.
const TOPIC_PACE: Duration = Duration::from_millis(1);
/// How many clients connect per second at first: well below what three pods admit.
const CONNECTS_PER_SECOND: u32 = 200;
/// How long anything may take that has to happen.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two looks at the ledger.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Everything that takes part.
pub(super) struct FaultFixture {
    pub(super) fleet: PodCluster,
    pub(super) redis_proxies: Vec<TcpProxy>,
    /// Where the changes stand that Redis has lost.
    pub(super) lost: Vec<PathBuf>,
    ledger: Arc<RunRecorder>,
    phase: watch::Sender<TrafficPhase>,
    clients: JoinSet<()>,
    plan: FaultPlan,
    panicked: usize,
    /// The most lines with the same text that one pod logged as warnings or errors, by text.
    logged: BTreeMap<String, usize>,
}

/// Makes a scene, lets the fault happen in the middle of steady traffic, and sees what became of it.
///
/// # Errors
/// When it cannot be set up, or does not come to its end in time.
pub async fn run_fault(plan: &FaultPlan, fault: InjectedFault) -> anyhow::Result<FaultReport> {
    let mut stage = FaultFixture::start(plan).await?;
    stage.wait_for_traffic().await.context("before the fault")?;
    let begun = Instant::now();
    let known = fault.inject(&mut stage, plan.full).await?;
    let lasted = begun.elapsed();
    stage.wait_for_traffic().await.context("behind the fault")?;
    let mut outcome = stage.finish().await?;
    (outcome.fault, outcome.recovery_ms) = (fault, millis(lasted));
    outcome.presence_recovery_ms = known.into_iter().map(millis).collect();
    Ok(outcome)
}

impl FaultFixture {
    async fn start(plan: &FaultPlan) -> anyhow::Result<Self> {
        let redis = durable_redis()?;
        let mut cables = Vec::with_capacity(PODS);
        for _ in 0..PODS {
            cables.push(TcpProxy::forward_to(([127, 0, 0, 1], redis.port()).into())?);
        }
        let launches = cables.iter().map(|cable| launch(&format!("redis://{}", cable.address()))).collect();
        let fleet = PodCluster::start(redis, launches).await?;
        let (phase, _) = watch::channel(TrafficPhase::Sending);
        let ledger = Arc::new(RunRecorder::default());
        let (lost, people, plan) = (Vec::new(), JoinSet::new(), plan.clone());
        let (panicked, logged) = (0, BTreeMap::new());
        let mut stage =
            Self { fleet, redis_proxies: cables, lost, ledger, phase, clients: people, plan, panicked, logged };
        stage.start_clients();
        Ok(stage)
    }

    fn start_clients(&mut self) {
        let begun = Instant::now();
        for number in 0..self.plan.connections {
            let begins =
                begun + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / CONNECTS_PER_SECOND;
            let participant =
                TrafficClient::new(self.role(number, begins), self.ledger.clone(), self.phase.subscribe());
            self.clients.spawn(participant.run());
        }
        let pace = TOPIC_PACE * u32::try_from(self.plan.connections).unwrap_or(u32::MAX);
        let (ledger, phase) = (self.ledger.clone(), self.phase.subscribe());
        self.clients.spawn(push_messages(self.backend_client(), TOPIC.to_owned(), pace, ledger, phase));
    }

    fn role(&self, number: usize, begins: Instant) -> ClientRole {
        let user = format!("p{number}");
        let dial =
            Client::dial(&self.fleet.socket_url(), &user).with_token(&sign_token(SECRET, &TokenClaims::user(&user)));
        let (room, conversation) = (format!("room:{}", number / ROOM_SIZE), format!("conversation:{user}"));
        let channels = vec![room.clone(), conversation.clone(), TOPIC.to_owned()];
        // Most of what is said is said to others.
        let targets = vec![room.clone(), room.clone(), room, conversation];
        ClientRole { number, dial, channels, targets, pace: self.plan.pace, begins }
    }

    fn backend_client(&self) -> HttpCaller {
        self.fleet.http().with_token(sign_token(SECRET, &TokenClaims::service("backend")))
    }

    /// Lets everybody talk until all are connected and each has been shown some messages since.
    async fn wait_for_traffic(&self) -> anyhow::Result<()> {
        self.wait_until("everybody to be connected", |ledger| ledger.open_count() == self.plan.connections).await?;
        let enough = self.ledger.counts().delivered + 5 * self.plan.connections as u64;
        self.wait_until("messages to flow", |ledger| ledger.counts().delivered >= enough).await
    }

    /// Waits until the application knows who is connected, and tells how long that took.
    pub(super) async fn wait_for_presence(&self, begun: Instant) -> anyhow::Result<Duration> {
        let known = wait_for_presence(&self.backend_client(), &self.ledger, begun, STEP_TIMEOUT).await;
        known.context("the application never knew again who is connected")
    }

    /// From here on the past of channels may be lost.
    pub(super) fn allow_data_loss(&self) {
        self.ledger.allow_data_loss();
    }

    /// A pod's metric; 0 when there is none.
    pub(super) async fn metric(&self, pod: usize, name: &str) -> f64 {
        self.fleet.pods[pod].metric(name).await.unwrap_or_default()
    }

    /// Has the last messages acknowledged, lets everybody catch up and leave, and adds up.
    async fn finish(mut self) -> anyhow::Result<FaultReport> {
        self.phase.send_replace(TrafficPhase::Quiescing);
        self.wait_until("the last acknowledgements", |ledger| ledger.counts().waiting == 0).await?;
        self.phase.send_replace(TrafficPhase::Closing);
        let left = async {
            while let Some(person) = self.clients.join_next().await {
                person.context("a client panicked")?;
            }
            anyhow::Ok(())
        };
        timeout(STEP_TIMEOUT, left).await.context("waited too long for everybody to leave")??;
        let begun = Instant::now();
        while !self.fleet.connection_keys()?.is_empty() {
            ensure!(
                begun.elapsed() < STEP_TIMEOUT,
                "records of connections are left: {:?}",
                self.fleet.connection_keys()?
            );
            sleep(POLL_INTERVAL).await;
        }
        for exit in self.fleet.stop().await {
            self.record_exit(&exit);
        }
        let mut outcome = FaultReport::from_recorder(
            &self.ledger,
            audit_disconnects(&self.lost, &self.fleet.redis.append_only_files()?)?,
        );
        (outcome.connections, outcome.panics, outcome.repeated_warnings) =
            (self.plan.connections, self.panicked, self.logged);
        outcome.checks_timings = self.plan.full;
        (outcome.drain_batch_size, outcome.drain_interval_ms) = (DRAIN_BATCH_SIZE, millis(DRAIN_INTERVAL));
        Ok(outcome)
    }

    /// Looks at what a pod has left.
    pub(super) fn record_exit(&mut self, exit: &ServerExit) {
        self.panicked += exit.stderr.matches("panicked").count();
        for (text, lines) in exit.warnings() {
            let most = self.logged.entry(text).or_default();
            *most = lines.max(*most);
        }
    }

    async fn wait_until(&self, what: &str, holds: impl Fn(&RunRecorder) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds(&self.ledger) {
            ensure!(
                begun.elapsed() < STEP_TIMEOUT,
                "waited {STEP_TIMEOUT:?} for {what}: {} connected, {:?}, {:?}",
                self.ledger.open_count(),
                self.ledger.counts(),
                self.ledger.message_counts()
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn launch(redis_url: &str) -> ServerLaunch {
    launch_pod(redis_url).with_env("RUST_LOG", "info")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
