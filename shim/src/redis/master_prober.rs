//! Prober: asks the Sentinels for the servers, and every server for its replication state, until the client is dropped.
//!
//! ```text
//! every 0.5 s; every 0.1 s for 5 s after a doubt ── Sentinels: master, replicas ── INFO replication to each server
//!                                                                                        └─ MasterSelection
//! ```
//! Servers stay known while no Sentinel answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue as _, Pipeline, RedisResult, TlsCertificates, Value, cmd};
use tokio::time::{Instant, sleep, timeout};

use super::connector;
use super::master_selection::{MasterSelection, ProbeRound};
use super::metrics::RedisMetrics;
use super::replication::{NodeAddress, ReplicationState};
use super::settings::RedisSettings;
use crate::breaker::CircuitBreaker;

/// Interval between rounds.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between rounds while the master is in doubt.
const DOUBT_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum interval between rounds, however many operations request one.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Duration of a doubt after its last cause.
const DOUBT_DURATION: Duration = Duration::from_secs(5);
/// Timeout of one probe, connection included.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Background task that keeps a [`MasterSelection`] up to date.
pub(super) struct MasterProber {
    selection: Arc<MasterSelection>,
    master_name: String,
    sentinels: Vec<ProbedServer>,
    servers: Vec<(NodeAddress, ProbedServer)>,
    settings: RedisSettings,
    certificates: Option<TlsCertificates>,
    metrics: RedisMetrics,
    doubt_until: Option<Instant>,
}

/// A server with its connection, which is opened again after a failed probe.
struct ProbedServer {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

/// Master and replicas according to a Sentinel.
struct SentinelView {
    /// Version of the Sentinel's configuration: of two views the higher one is valid ("High availability with Redis
    /// Sentinel", configuration propagation).
    config_epoch: u64,
    master: NodeAddress,
    replicas: Vec<NodeAddress>,
}

impl MasterProber {
    /// Creates a prober of the servers behind the configured Sentinels.
    pub(super) fn new(
        selection: Arc<MasterSelection>,
        settings: RedisSettings,
        certificates: Option<TlsCertificates>,
        metrics: RedisMetrics,
    ) -> RedisResult<Self> {
        let sentinel = |node| connector::client_for_node(&settings, certificates.clone(), node).map(ProbedServer::new);
        let sentinels = (0..settings.urls.len()).map(sentinel).collect::<RedisResult<_>>()?;
        let master_name = settings.sentinel_master.clone();
        let (servers, doubt_until) = (Vec::new(), None);
        Ok(Self { selection, master_name, sentinels, servers, settings, certificates, metrics, doubt_until })
    }

    /// Probes until it is dropped. `breaker` is notified of a new master, so that an outage ends at once.
    pub(super) async fn run(mut self, breaker: CircuitBreaker) {
        loop {
            let in_doubt = self.doubt_until.is_some_and(|until| Instant::now() < until);
            let interval = if in_doubt { DOUBT_INTERVAL } else { PROBE_INTERVAL };
            let selection = self.selection.clone();
            tokio::select! {
                () = sleep(interval) => {}
                () = selection.probe_requested() => {
                    self.doubt_until = Some(Instant::now() + DOUBT_DURATION);
                    sleep(MIN_INTERVAL).await;
                }
            }
            if self.probe_once().await {
                self.doubt_until = Some(Instant::now() + DOUBT_DURATION);
                breaker.request_check();
            }
        }
    }

    /// Runs one round. Returns whether the master changed.
    pub(super) async fn probe_once(&mut self) -> bool {
        self.selection.begin_round();
        let view = self.view_of_sentinels().await;
        if let Some(view) = &view {
            self.remember_servers(view);
        }
        let probes =
            self.servers.iter_mut().map(async |(node, server)| Some((node.clone(), server.replication().await?)));
        let servers: Vec<_> = join_all(probes).await.into_iter().flatten().collect();
        let named = view.map(|view| view.master);
        let changed = self.selection.complete_round(&ProbeRound { servers, named });
        if changed {
            self.metrics.master_changes.inc();
            tracing::warn!("redis failover: another server is the master now, all connections move to it");
        }
        changed
    }

    /// Asks all Sentinels and returns the newest view.
    async fn view_of_sentinels(&mut self) -> Option<SentinelView> {
        let name = &self.master_name;
        let views = self.sentinels.iter_mut().map(async |sentinel| sentinel.sentinel_view(name).await);
        join_all(views).await.into_iter().flatten().max_by_key(|view| view.config_epoch)
    }

    /// Adds new servers, and forgets those that the Sentinels have forgotten. The selected master stays.
    fn remember_servers(&mut self, view: &SentinelView) {
        let selected = self.selection.node();
        let is_known = |node: &NodeAddress| *node == view.master || view.replicas.contains(node);
        self.servers.retain(|(node, _)| is_known(node) || Some(node) == selected.as_ref());
        for node in std::iter::once(&view.master).chain(&view.replicas) {
            if self.servers.iter().all(|(known, _)| known != node)
                && let Ok(client) = connector::client_for_address(&self.settings, self.certificates.clone(), node)
            {
                self.servers.push((node.clone(), ProbedServer::new(client)));
            }
        }
    }
}

impl ProbedServer {
    const fn new(client: Client) -> Self {
        Self { client, connection: None }
    }

    async fn replication(&mut self) -> Option<ReplicationState> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(ReplicationState::info_command());
        let reply = self.send(&pipeline).await?.pop()?;
        ReplicationState::from_value(reply).ok()
    }

    async fn sentinel_view(&mut self, master_name: &str) -> Option<SentinelView> {
        let mut pipeline = Pipeline::with_capacity(3);
        for subcommand in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS"] {
            pipeline.add_command(cmd("SENTINEL").arg(subcommand).arg(master_name).take());
        }
        let [address, master, replicas] = self.send(&pipeline).await?.try_into().ok()?;
        SentinelView::parse(address, &master, replicas)
    }

    /// Sends commands and returns their replies; `None` if the server does not answer in time. A connection that turns
    /// out to be closed is replaced: Sentinels close all connections of a replica that they promote.
    async fn send(&mut self, pipeline: &Pipeline) -> Option<Vec<Value>> {
        let replies = timeout(PROBE_TIMEOUT, async {
            let is_reused = self.connection.is_some();
            match self.send_once(pipeline).await {
                Ok(replies) => Some(replies),
                Err(_) if is_reused => {
                    self.connection = None;
                    self.send_once(pipeline).await.ok()
                }
                Err(_) => None,
            }
        });
        let replies = replies.await.ok().flatten();
        if replies.is_none() {
            self.connection = None;
        }
        replies
    }

    async fn send_once(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PROBE_TIMEOUT))
                    .set_response_timeout(Some(PROBE_TIMEOUT));
                let opened = self.client.get_multiplexed_async_connection_with_config(&config).await?;
                self.connection.insert(opened)
            }
        };
        connection.send_packed_commands(pipeline, 0, pipeline.len()).await
    }
}

impl SentinelView {
    fn parse(address: Value, master: &Value, replicas: Value) -> Option<Self> {
        let (host, port) = <(String, u16)>::from_redis_value(address).ok()?;
        let config_epoch = text_field(master, "config-epoch")?.parse().ok()?;
        let Value::Array(replicas) = replicas else { return None };
        let replica = |fields: &Value| {
            Some(NodeAddress { host: text_field(fields, "ip")?, port: text_field(fields, "port")?.parse().ok()? })
        };
        let replicas = replicas.iter().filter_map(replica).collect();
        Some(Self { config_epoch, master: NodeAddress { host, port }, replicas })
    }
}

/// Returns a field of a map, which RESP2 servers send as a list.
fn text_field(fields: &Value, name: &str) -> Option<String> {
    let mut pairs = fields.as_map_iter()?;
    let (_, value) = pairs.find(|(key, _)| String::from_redis_value_ref(key).is_ok_and(|key| key == name))?;
    String::from_redis_value_ref(value).ok()
}
