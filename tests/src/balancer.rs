//! A real haproxy in front of servers, as an ingress controller stands in front of pods.
//!
//! Round robin over whoever answers its readiness probe with 200; a connection that a server refuses goes to the next one;
//! WebSockets become tunnels. Invariant: it listens from the moment it is made until it is dropped, on a port that nobody
//! else can have taken meanwhile: it inherits the socket. It knows nothing of what the servers are.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::child::KillOnDrop;
use crate::eventually;

/// The part of the configuration that does not depend on the servers. Probes come often, so that a pod that drains or died
/// is left alone within 100 ms. Connections to servers are not kept: each request is balanced by itself.
const SETTINGS: &str = "
defaults
  mode http
  balance roundrobin
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  timeout http-request 10s
  timeout check 1s
  retries 3
  option redispatch 1
  option http-server-close
  http-reuse never
  default-server inter 100ms fall 1 rise 1
frontend clients
  bind fd@0
  default_backend servers
backend servers
  option httpchk GET /ready
";
/// Most connections at a time; the process needs twice as many file descriptors.
const CONNECTIONS: usize = 8_000;

/// A server behind the balancer.
#[derive(Debug, Clone, Copy)]
pub struct BalancerBackend {
    /// Where clients are sent.
    pub traffic: SocketAddr,
    /// Where `GET /ready` is asked.
    pub probe: SocketAddr,
}

/// A running haproxy; dropped, it is killed.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    servers: usize,
    // Dropped before the directory that it listens in.
    _child: KillOnDrop,
    directory: TempDir,
}

impl Balancer {
    /// Starts it and waits until it finds all servers ready.
    ///
    /// # Errors
    /// When haproxy cannot be started.
    pub async fn start(servers: &[BalancerBackend]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let configuration = directory.path().join("haproxy.cfg");
        std::fs::write(&configuration, configured(&stats_socket(&directory), servers))?;
        let mut command = Command::new("haproxy");
        // In the foreground. Not in its quiet mode, which closes the socket that it inherits.
        command.args(["-db", "-f"]).arg(&configuration).stdin(OwnedFd::from(listener));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("haproxy does not run; tests/scripts/setup.sh installs it")?;
        let balancer = Self { address, servers: servers.len(), _child: KillOnDrop(child), directory };
        balancer.wait_ready(servers.len()).await;
        Ok(balancer)
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until exactly `count` servers get connections.
    pub async fn wait_ready(&self, count: usize) {
        eventually!(&format!("the balancer to find {count} servers ready"), {
            (self.ready().await.ok() == Some(count)).then_some(())
        });
    }

    /// Waits until all servers get connections.
    pub async fn wait_all_ready(&self) {
        self.wait_ready(self.servers).await;
    }

    /// How many servers' last probe succeeded.
    async fn ready(&self) -> anyhow::Result<usize> {
        let mut socket = UnixStream::connect(stats_socket(&self.directory)).await?;
        socket.write_all(b"show stat -1 4 -1\n").await?;
        let mut table = String::new();
        socket.read_to_string(&mut table).await?;
        let names = table.lines().next().unwrap_or_default();
        let column = names.split(',').position(|name| name == "check_status").context("haproxy tells no checks")?;
        Ok(table.lines().filter(|line| line.split(',').nth(column) == Some("L7OK")).count())
    }
}

fn stats_socket(directory: &TempDir) -> PathBuf {
    directory.path().join("stats")
}

fn configured(stats: &std::path::Path, servers: &[BalancerBackend]) -> String {
    let mut text = format!("global\n  maxconn {CONNECTIONS}\n  stats socket {}\n{SETTINGS}", stats.display());
    for (number, server) in servers.iter().enumerate() {
        let (traffic, probe) = (server.traffic, server.probe);
        writeln!(text, "  server server{number} {traffic} check addr {} port {}", probe.ip(), probe.port())
            .expect("a string takes everything");
    }
    text
}
