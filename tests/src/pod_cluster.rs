//! Pods as processes: one Redis, several `twinway serve` in Kubernetes mode, and a balancer in front of them.
//!
//! Each connection and each HTTP request goes to the next pod. Invariant: addresses stay what they are, whatever is
//! restarted. Redis writes every change to disk before it answers, so that what was acknowledged stays.

use anyhow::Context as _;

use crate::balancer::{Balancer, BalancerBackend};
use crate::client::http::HttpCaller;
use crate::redis::{RedisOptions, RedisServer};
use crate::server::{STAGE, ServerExit, ServerLaunch, TwinwayServer};

/// Pods behind a balancer.
pub struct PodCluster {
    /// What stands in front of them.
    pub balancer: Balancer,
    /// The pods, as the balancer counts them.
    pub pods: Vec<TwinwayServer>,
    /// What they share.
    pub redis: RedisServer,
}

/// A Redis that loses nothing when it is killed, and whose file of changes keeps every one of them.
///
/// # Errors
/// When it cannot be started.
pub fn durable_redis() -> anyhow::Result<RedisServer> {
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    RedisServer::start_with(options.with_setting("auto-aof-rewrite-percentage", "0"))
}

/// A pod that finds Redis at this address.
#[must_use]
pub fn launch_pod(redis_url: &str) -> ServerLaunch {
    TwinwayServer::launch()
        .with_env("DEPLOYMENT_MODE", "kubernetes")
        .with_env("REDIS_URL", redis_url)
        // Three probes of the balancer.
        .with_env("TWINWAY_DRAIN_DELAY", "300ms")
}

impl PodCluster {
    /// Starts the pods and waits until the balancer finds them ready.
    ///
    /// # Errors
    /// When there is no balancer.
    ///
    /// # Panics
    /// When a pod does not start.
    pub async fn start(redis: RedisServer, launches: Vec<ServerLaunch>) -> anyhow::Result<Self> {
        let mut pods = Vec::with_capacity(launches.len());
        for launch in launches {
            let mut pod = launch.start().await;
            pod.keep_addresses();
            pods.push(pod);
        }
        let backends: Vec<_> =
            pods.iter().map(|pod| BalancerBackend { traffic: pod.traffic, probe: pod.ops }).collect();
        let balancer = Balancer::start(&backends).await.context("starting the balancer")?;
        Ok(Self { balancer, pods, redis })
    }

    /// Where WebSockets connect.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("ws://{}/{STAGE}", self.balancer.address())
    }

    /// Where the HTTP API is.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.balancer.address())
    }

    /// A caller of the HTTP API of whichever pod is next, without a token.
    #[must_use]
    pub fn http(&self) -> HttpCaller {
        HttpCaller::with_base_url(&self.http_url())
    }

    /// A rolling restart: one pod after the other, the next one when the last one is back. How each ended.
    pub async fn rolling_restart(&mut self) -> Vec<ServerExit> {
        let mut exits = Vec::with_capacity(self.pods.len());
        for pod in &mut self.pods {
            exits.push(pod.stop().await);
            pod.restart().await;
            self.balancer.wait_all_ready().await;
        }
        exits
    }

    /// Kills all pods and starts them again. How each ended.
    pub async fn kill_all(&mut self) -> Vec<ServerExit> {
        let mut exits = Vec::with_capacity(self.pods.len());
        for pod in &mut self.pods {
            exits.push(pod.kill().await);
        }
        for pod in &mut self.pods {
            pod.restart().await;
        }
        self.balancer.wait_all_ready().await;
        exits
    }

    /// Stops all pods, at once as a deployment that is deleted does. How each ended.
    pub async fn stop(&mut self) -> Vec<ServerExit> {
        for pod in &self.pods {
            pod.terminate().await;
        }
        let mut exits = Vec::with_capacity(self.pods.len());
        for pod in &mut self.pods {
            exits.push(pod.wait_exit().await);
        }
        exits
    }

    /// Keys of what Redis has about connections, without the traces of those that have just ended.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn connection_keys(&self) -> anyhow::Result<Vec<String>> {
        let mut records = Vec::new();
        for pattern in ["twinway:connection:*", "twinway:{cluster}:sessions:*", "twinway:{cluster}:reaping:*"] {
            let keys = self.redis.run_command(&["KEYS", pattern])?;
            records.extend(keys.lines().filter(|key| !key.is_empty() && !key.ends_with(":taken")).map(str::to_owned));
        }
        Ok(records)
    }
}
