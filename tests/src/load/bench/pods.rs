//! Three servers on one dedicated Redis: ours as pods, or Socket.IO's as its documentation recommends for several
//! nodes.
//!
//! Both use the Redis configuration that pods are documented to need: every write is appended to a file and synced.
//! Publish and subscribe, all that Socket.IO uses, writes nothing. Servers and Redis stop when the value is dropped.

use std::path::Path;

use anyhow::{Context, ensure};

use super::child::{self, Pinning};
use super::tokens;
use crate::pod_cluster;
use crate::redis::RedisServer;
use crate::server::TwinwayServer;

/// Number of servers.
pub const PODS: usize = 3;

/// Kind of servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum ClusterKind {
    /// `twinway serve` in Kubernetes mode
    Ours,
    /// Socket.IO with its Redis adapter
    Socketio,
}

/// Running servers with their Redis.
pub struct BenchmarkCluster {
    // Drop order: the servers stop before Redis.
    servers: Servers,
    _redis: RedisServer,
}

enum Servers {
    Ours(Vec<TwinwayServer>),
    Socketio(Vec<child::ServerProcess>),
}

impl BenchmarkCluster {
    /// Starts Redis and the servers, and waits until all of them listen. `packages` is the directory of the Socket.IO
    /// installation.
    ///
    /// # Errors
    /// Redis or Socket.IO cannot be started.
    ///
    /// # Panics
    /// One of our pods does not start.
    pub async fn start(kind: ClusterKind, packages: &Path) -> anyhow::Result<Self> {
        let redis = pod_cluster::durable_redis().context("starting Redis")?;
        let servers = match kind {
            ClusterKind::Ours => Servers::Ours(ours(&redis).await),
            ClusterKind::Socketio => Servers::Socketio(socketio(&redis, packages)?),
        };
        Ok(Self { servers, _redis: redis })
    }

    /// Returns the addresses of the servers, separated by commas.
    #[must_use]
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = match &self.servers {
            Servers::Ours(pods) => pods.iter().map(|pod| pod.traffic.to_string()).collect(),
            Servers::Socketio(servers) => servers.iter().map(|server| server.address.clone()).collect(),
        };
        addresses.join(",")
    }
}

async fn ours(redis: &RedisServer) -> Vec<TwinwayServer> {
    let mut pods = Vec::with_capacity(PODS);
    for _ in 0..PODS {
        let pod = pod_cluster::launch_pod(&redis.url())
            .with_env("TWINWAY_AUTH_SECRET", tokens::SECRET)
            .with_env("RUST_LOG", "info")
            // The benchmark measures the message path, not API Gateway's rate limits.
            .with_env("TWINWAY_THROTTLE_RATE", "off")
            .with_env("TWINWAY_THROTTLE_CONNECT_RATE", "off")
            .with_env("TWINWAY_THROTTLE_CONNECTION_RATE", "off");
        pods.push(pod.start().await);
    }
    pods
}

fn socketio(redis: &RedisServer, packages: &Path) -> anyhow::Result<Vec<child::ServerProcess>> {
    let program = packages.join("server.mjs");
    ensure!(program.is_file(), "{} is missing: run tests/scripts/socketio.sh to install Socket.IO", program.display());
    let server = child::BenchmarkServer {
        name: "socketio",
        program: "/usr/bin/env".into(),
        arguments: vec!["NODE_ENV=production".into(), "node".into(), program.display().to_string(), redis.url()],
    };
    (0..PODS).map(|_| child::ServerProcess::start(&server, Pinning::Free, "")).collect()
}
