//! Pods as processes: one Redis in any topology, several `twinway serve` in Kubernetes mode, and a load balancer.
//!
//! Connections and HTTP requests alternate between the pods. Addresses stay the same across restarts. Redis writes
//! every change to disk before it replies, so acknowledged data survives.

use anyhow::Context as _;

use crate::balancer::{Balancer, BalancerBackend};
use crate::client::http::HttpCaller;
use crate::redis::{RedisDeployment, RedisOptions, RedisServer};
use crate::server::{STAGE, ServerExit, ServerLaunch, TwinwayServer};

/// Pods with their load balancer and Redis.
pub struct PodCluster {
    /// Load balancer of the pods.
    pub balancer: Balancer,
    /// Pods in the order of the balancer's servers.
    pub pods: Vec<TwinwayServer>,
    /// Redis shared by the pods.
    pub redis: RedisDeployment,
}

/// Starts a Redis that loses nothing when it is killed and whose append-only file is never rewritten.
///
/// # Errors
/// Redis cannot be started.
pub fn durable_redis() -> anyhow::Result<RedisServer> {
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    RedisServer::start_with(options.with_setting("auto-aof-rewrite-percentage", "0"))
}

/// Returns the launch of a pod that uses Redis at this URL.
#[must_use]
pub fn launch_pod(redis_url: &str) -> ServerLaunch {
    TwinwayServer::launch()
        .with_env("DEPLOYMENT_MODE", "kubernetes")
        .with_env("REDIS_URL", redis_url)
        // Three probe intervals of the balancer.
        .with_env("TWINWAY_DRAIN_DELAY", "300ms")
}

impl PodCluster {
    /// Starts the pods and waits until all are ready.
    ///
    /// # Errors
    /// The balancer cannot be started.
    ///
    /// # Panics
    /// A pod does not start.
    pub async fn start(redis: impl Into<RedisDeployment>, launches: Vec<ServerLaunch>) -> anyhow::Result<Self> {
        let mut pods = Vec::with_capacity(launches.len());
        for launch in launches {
            let mut pod = launch.start().await;
            pod.keep_addresses();
            pods.push(pod);
        }
        let backends: Vec<_> =
            pods.iter().map(|pod| BalancerBackend { traffic: pod.traffic, probe: pod.ops }).collect();
        let balancer = Balancer::start(&backends).await.context("starting the balancer")?;
        Ok(Self { balancer, pods, redis: redis.into() })
    }

    /// Returns the URL for WebSocket connections.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("ws://{}/{STAGE}", self.balancer.address())
    }

    /// Returns the base URL of the HTTP API.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.balancer.address())
    }

    /// Returns an HTTP client without a token; its requests alternate between the pods.
    #[must_use]
    pub fn http(&self) -> HttpCaller {
        HttpCaller::with_base_url(&self.http_url())
    }

    /// Restarts the pods one after the other, each after the previous one is ready; returns their exits.
    pub async fn rolling_restart(&mut self) -> Vec<ServerExit> {
        let mut exits = Vec::with_capacity(self.pods.len());
        for pod in &mut self.pods {
            exits.push(pod.stop().await);
            pod.restart().await;
            self.balancer.wait_all_ready().await;
        }
        exits
    }

    /// Kills all pods and restarts them; returns their exits.
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

    /// Stops all pods at the same time, as the deletion of a deployment does; returns their exits.
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

    /// Returns the Redis keys of connections and registrations, except the short-lived ids of ended connections.
    ///
    /// # Errors
    /// Redis does not respond.
    pub fn connection_keys(&self) -> anyhow::Result<Vec<String>> {
        let mut records = Vec::new();
        for pattern in ["twinway:connection:*", "twinway:{cluster}:connections:*", "twinway:{cluster}:reaping:*"] {
            records.extend(self.redis.keys(pattern)?.into_iter().filter(|key| !key.ends_with(":removed")));
        }
        Ok(records)
    }
}
