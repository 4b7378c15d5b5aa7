//! Three servers on one Redis of their own: ours as pods, or Socket.IO's as its documentation says to run several.
//!
//! Invariant: both get the same Redis, the one that pods are documented to need: it appends every write to a file and syncs it.
//! Publish and subscribe, which is all that the peer asks of it, writes nothing. Servers and Redis end with the value.

use std::path::Path;

use anyhow::{Context, ensure};

use super::child::{self, Pinning};
use super::tokens;
use crate::pod_cluster;
use crate::redis::RedisServer;
use crate::server::TwinwayServer;

/// How many servers there are.
pub const PODS: usize = 3;

/// Whose servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum ClusterKind {
    /// `twinway serve` in Kubernetes mode
    Ours,
    /// Socket.IO with its Redis adapter
    Socketio,
}

/// Servers that run.
pub struct BenchmarkCluster {
    // Dropped in this order: what asks Redis ends before it.
    servers: Servers,
    _redis: RedisServer,
}

enum Servers {
    Ours(Vec<TwinwayServer>),
    Socketio(Vec<child::ServerProcess>),
}

impl BenchmarkCluster {
    /// Starts Redis and the servers, and waits until all of them listen. `packages` is where the peer is installed.
    ///
    /// # Errors
    /// When Redis or the peer cannot be started.
    ///
    /// # Panics
    /// When a pod of ours does not start.
    pub async fn start(kind: ClusterKind, packages: &Path) -> anyhow::Result<Self> {
        let redis = pod_cluster::durable_redis().context("starting Redis")?;
        let servers = match kind {
            ClusterKind::Ours => Servers::Ours(ours(&redis).await),
            ClusterKind::Socketio => Servers::Socketio(socketio(&redis, packages)?),
        };
        Ok(Self { servers, _redis: redis })
    }

    /// Where they listen, separated by commas.
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
            // The benchmark measures the path, not how much API Gateway would let through.
            .with_env("TWINWAY_THROTTLE_RATE", "off")
            .with_env("TWINWAY_THROTTLE_CONNECT_RATE", "off");
        pods.push(pod.start().await);
    }
    pods
}

fn socketio(redis: &RedisServer, packages: &Path) -> anyhow::Result<Vec<child::ServerProcess>> {
    let program = packages.join("server.mjs");
    ensure!(program.is_file(), "{} is missing: tests/scripts/socketio.sh installs the peer", program.display());
    let server = child::BenchmarkServer {
        name: "socketio",
        program: "/usr/bin/env".into(),
        arguments: vec!["NODE_ENV=production".into(), "node".into(), program.display().to_string(), redis.url()],
    };
    (0..PODS).map(|_| child::ServerProcess::start(&server, Pinning::Free, "")).collect()
}
