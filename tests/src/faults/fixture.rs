//! Fixture of a fault-injection run: pods, proxies between them and Redis, clients, and a backend.
//!
//! A run starts when all clients are connected. It ends when every message is acknowledged, every client has received
//! all messages, and all clients and pods have stopped.

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
use super::injection::FaultTopology;
use super::recorder::RunRecorder;
use super::stored_messages::count_lost;
use super::traffic_client::{ClientRole, TrafficClient, TrafficPhase};
use super::{FaultPlan, InjectedFault, TcpProxy};
use crate::client::Client;
use crate::client::http::HttpCaller;
use crate::pod_cluster::{PodCluster, durable_redis, launch_pod};
use crate::redis::{RedisCluster, RedisDeployment, RedisSentinels};
use crate::server::{SECRET, STAGE, ServerExit, ServerLaunch};
use crate::world::{TokenClaims, sign_token};

/// Number of pods.
const PODS: usize = 3;
/// Members of a room.
const ROOM_SIZE: usize = 10;
/// Topic that every client reads.
const TOPIC: &str = "topic:news";
/// Publish interval of the topic per client: 1,000 deliveries per second, whatever the number of clients.
const TOPIC_PACE: Duration = Duration::from_millis(1);
/// Clients that connect per second during start-up: well below the handshake rate that three pods accept.
const CONNECTS_PER_SECOND: u32 = 200;
/// Timeout of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// One of this many clients connects through the proxy that drops packets, where the fault needs one.
const CLIENTS_PER_PROXIED: usize = 3;
/// Interval between two checks of the recorder.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Pods, proxies, clients and the recorder of a run.
pub(super) struct FaultFixture {
    pub(super) cluster: PodCluster,
    pub(super) redis_proxies: Vec<TcpProxy>,
    /// Proxy between some of the clients and the balancer.
    pub(super) client_proxy: Option<TcpProxy>,
    /// Append-only files that Redis has lost.
    pub(super) lost: Vec<PathBuf>,
    recorder: Arc<RunRecorder>,
    phase: watch::Sender<TrafficPhase>,
    clients: JoinSet<()>,
    plan: FaultPlan,
    panicked: usize,
    /// Highest number of warnings or errors with the same text that one pod logged, by text.
    logged: BTreeMap<String, usize>,
}

/// Starts a fixture, injects the fault into steady traffic, and returns the report.
///
/// # Errors
/// The fixture cannot be started, or a step does not complete in time.
pub async fn run_fault(plan: &FaultPlan, fault: InjectedFault) -> anyhow::Result<FaultReport> {
    let mut fixture = FaultFixture::start(plan, fault).await?;
    fixture.wait_for_traffic().await.context("before the fault")?;
    let started = Instant::now();
    let recoveries = fault.inject(&mut fixture, plan.full).await?;
    let duration = started.elapsed();
    fixture.wait_for_traffic().await.context("after the fault")?;
    let mut report = fixture.finish().await?;
    (report.fault, report.recovery_ms) = (fault, millis(duration));
    report.presence_recovery_ms = recoveries.into_iter().map(millis).collect();
    Ok(report)
}

impl FaultFixture {
    async fn start(plan: &FaultPlan, fault: InjectedFault) -> anyhow::Result<Self> {
        let (redis, launches, redis_proxies) = start_redis(fault.topology(), plan)?;
        let cluster = PodCluster::start(redis, launches).await?;
        let needs_proxy = fault == InjectedFault::HalfOpen;
        let client_proxy = needs_proxy.then(|| TcpProxy::forward_to(cluster.balancer.address())).transpose()?;
        let (phase, _) = watch::channel(TrafficPhase::Sending);
        let recorder = Arc::new(RunRecorder::default());
        let (lost, clients, plan) = (Vec::new(), JoinSet::new(), plan.clone());
        let (panicked, logged) = (0, BTreeMap::new());
        let mut fixture =
            Self { cluster, redis_proxies, client_proxy, lost, recorder, phase, clients, plan, panicked, logged };
        fixture.start_clients();
        Ok(fixture)
    }

    fn start_clients(&mut self) {
        let started = Instant::now();
        for number in 0..self.plan.connections {
            let starts_at =
                started + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / CONNECTS_PER_SECOND;
            let client =
                TrafficClient::new(self.role(number, starts_at), self.recorder.clone(), self.phase.subscribe());
            self.clients.spawn(client.run());
        }
        let pace = TOPIC_PACE * u32::try_from(self.plan.connections).unwrap_or(u32::MAX);
        let (recorder, phase) = (self.recorder.clone(), self.phase.subscribe());
        self.clients.spawn(push_messages(self.backend_client(), TOPIC.to_owned(), pace, recorder, phase));
    }

    fn role(&self, number: usize, starts_at: Instant) -> ClientRole {
        let user = format!("p{number}");
        let proxy = self.client_proxy.as_ref().filter(|_| number.is_multiple_of(CLIENTS_PER_PROXIED));
        let url = proxy.map_or_else(|| self.cluster.socket_url(), |proxy| format!("ws://{}/{STAGE}", proxy.address()));
        let dial = Client::dial(&url, &user).with_token(&sign_token(SECRET, &TokenClaims::user(&user)));
        let (room, conversation) = (format!("room:{}", number / ROOM_SIZE), format!("conversation:{user}"));
        let channels = vec![room.clone(), conversation.clone(), TOPIC.to_owned()];
        // Three of four messages are addressed to others.
        let targets = vec![room.clone(), room.clone(), room, conversation];
        ClientRole { number, dial, channels, targets, pace: self.plan.pace, starts_at }
    }

    fn backend_client(&self) -> HttpCaller {
        self.cluster.http().with_token(sign_token(SECRET, &TokenClaims::service("backend")))
    }

    /// Waits until all clients are connected and each has received five messages on average since.
    async fn wait_for_traffic(&self) -> anyhow::Result<()> {
        self.wait_until("all clients to be connected", |recorder| recorder.open_count() == self.plan.connections)
            .await?;
        let enough = self.recorder.counts().delivered + 5 * self.plan.connections as u64;
        self.wait_until("messages to flow", |recorder| recorder.counts().delivered >= enough).await
    }

    /// Waits until the clients behind the proxy have lost their connections.
    pub(super) async fn wait_for_unreachable_clients(&self) -> anyhow::Result<()> {
        let reachable = self.plan.connections - self.plan.connections.div_ceil(CLIENTS_PER_PROXIED);
        self.wait_until("clients to give up", |recorder| recorder.open_count() == reachable).await
    }

    /// Waits until presence is correct and returns the time since `started`.
    pub(super) async fn wait_for_presence(&self, started: Instant) -> anyhow::Result<Duration> {
        let recovery = wait_for_presence(&self.backend_client(), &self.recorder, started, STEP_TIMEOUT).await;
        recovery.context("presence never became correct")
    }

    /// Allows epoch losses from now on.
    pub(super) fn allow_data_loss(&self) {
        self.recorder.allow_data_loss();
    }

    /// Allows other epochs from now on, although no acknowledged message may be lost.
    pub(super) fn allow_epoch_change(&self) {
        self.recorder.allow_data_loss();
    }

    /// Returns a pod's metric, 0 if absent.
    pub(super) async fn metric(&self, pod: usize, name: &str) -> f64 {
        self.cluster.pods[pod].metric(name).await.unwrap_or_default()
    }

    /// Waits for the last acknowledgements, lets all clients catch up and disconnect, stops the pods, and builds the
    /// report.
    async fn finish(mut self) -> anyhow::Result<FaultReport> {
        self.phase.send_replace(TrafficPhase::Quiescing);
        self.wait_until("the last acknowledgements", |recorder| recorder.counts().waiting == 0).await?;
        self.phase.send_replace(TrafficPhase::Closing);
        let left = async {
            while let Some(client) = self.clients.join_next().await {
                client.context("a client panicked")?;
            }
            anyhow::Ok(())
        };
        timeout(STEP_TIMEOUT, left).await.context("clients did not disconnect in time")??;
        let started = Instant::now();
        while !self.cluster.connection_keys()?.is_empty() {
            ensure!(
                started.elapsed() < STEP_TIMEOUT,
                "connection records remain: {:?}",
                self.cluster.connection_keys()?
            );
            sleep(POLL_INTERVAL).await;
        }
        for exit in self.cluster.stop().await {
            self.record_exit(&exit);
        }
        let lost = if self.lost.is_empty() { count_lost(&self.cluster.redis, &self.recorder)? } else { 0 };
        let mut report = FaultReport::from_recorder(
            &self.recorder,
            audit_disconnects(&self.lost, &self.cluster.redis.append_only_files()?)?,
        );
        (report.connections, report.panics, report.repeated_warnings) =
            (self.plan.connections, self.panicked, self.logged);
        report.lost = lost;
        report.checks_timings = self.plan.full;
        (report.drain_batch_size, report.drain_interval_ms) = (DRAIN_BATCH_SIZE, millis(DRAIN_INTERVAL));
        Ok(report)
    }

    /// Records the panics and warnings of a pod that has exited.
    pub(super) fn record_exit(&mut self, exit: &ServerExit) {
        self.panicked += exit.stderr.matches("panicked").count();
        for (text, lines) in exit.warnings() {
            let highest = self.logged.entry(text).or_default();
            *highest = lines.max(*highest);
        }
    }

    async fn wait_until(&self, what: &str, holds: impl Fn(&RunRecorder) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !holds(&self.recorder) {
            ensure!(
                started.elapsed() < STEP_TIMEOUT,
                "waited {STEP_TIMEOUT:?} for {what}: {} connected, {:?}, {:?}",
                self.recorder.open_count(),
                self.recorder.counts(),
                self.recorder.message_counts()
            );
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

/// Starts Redis, and returns it with the launches of the pods and the proxies between them.
fn start_redis(
    topology: FaultTopology,
    plan: &FaultPlan,
) -> anyhow::Result<(RedisDeployment, Vec<ServerLaunch>, Vec<TcpProxy>)> {
    let (redis, urls, topology) = match topology {
        FaultTopology::Server => {
            let redis = durable_redis()?;
            let proxy = |_| TcpProxy::forward_to(([127, 0, 0, 1], redis.port()).into());
            let proxies = (0..PODS).map(proxy).collect::<Result<Vec<_>, _>>()?;
            let launches = proxies.iter().map(|proxy| launch(&format!("redis://{}", proxy.address()), plan)).collect();
            return Ok((redis.into(), launches, proxies));
        }
        FaultTopology::Sentinels => {
            let sentinels = RedisSentinels::start_with(1, 1)?;
            let urls = sentinels.urls().join(",");
            (RedisDeployment::Sentinels(sentinels), urls, "sentinel")
        }
        FaultTopology::Cluster => {
            let cluster = RedisCluster::start_with_replicas()?;
            let urls = cluster.urls().join(",");
            (RedisDeployment::Cluster(cluster), urls, "cluster")
        }
    };
    let launches = (0..PODS).map(|_| launch(&urls, plan).with_env("TWINWAY_REDIS_TOPOLOGY", topology)).collect();
    Ok((redis, launches, Vec::new()))
}

fn launch(redis_url: &str, plan: &FaultPlan) -> ServerLaunch {
    // The defaults of profile `open`, or shorter ones that a test on a shared host can sustain.
    let (interval, answer) = if plan.full { ("25s", "20s") } else { ("5s", "10s") };
    launch_pod(redis_url)
        .with_env("RUST_LOG", "info")
        .with_env("TWINWAY_PING_INTERVAL", interval)
        .with_env("TWINWAY_PING_TIMEOUT", answer)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
