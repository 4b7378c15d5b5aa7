//! Load balancer: a real haproxy in front of servers, as an ingress controller in front of pods.
//!
//! It balances round robin over the servers whose readiness probe returns 200, retries a refused connection on the
//! next server, and tunnels WebSockets. It listens from its creation until it is dropped; it inherits a bound socket,
//! so no other process can take its port. It is independent of the kind of servers.

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

/// Static part of the configuration. The probe interval of 100 ms removes a draining or dead pod quickly. Connections
/// to servers are not reused, so each request is balanced individually.
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
/// Maximum number of concurrent connections; the process needs twice as many file descriptors.
const CONNECTIONS: usize = 8_000;

/// Server in the balancer's pool.
#[derive(Debug, Clone, Copy)]
pub struct BalancerBackend {
    /// Address for client connections.
    pub traffic: SocketAddr,
    /// Address of `GET /ready`.
    pub probe: SocketAddr,
}

/// Running haproxy; killed on drop.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    servers: usize,
    // Dropped before its directory.
    _child: KillOnDrop,
    directory: TempDir,
}

impl Balancer {
    /// Starts haproxy and waits until all servers are ready.
    ///
    /// # Errors
    /// haproxy cannot be started.
    pub async fn start(servers: &[BalancerBackend]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let configuration = directory.path().join("haproxy.cfg");
        std::fs::write(&configuration, render_configuration(&stats_socket(&directory), servers))?;
        let mut command = Command::new("haproxy");
        // `-db` keeps it in the foreground. Quiet mode would close the inherited socket.
        command.args(["-db", "-f"]).arg(&configuration).stdin(OwnedFd::from(listener));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("cannot run haproxy; install it with tests/scripts/setup.sh")?;
        let balancer = Self { address, servers: servers.len(), _child: KillOnDrop(child), directory };
        balancer.wait_ready(servers.len()).await;
        Ok(balancer)
    }

    /// Returns the address that clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until exactly `count` servers are ready.
    pub async fn wait_ready(&self, count: usize) {
        eventually!(&format!("the balancer to find {count} servers ready"), {
            (self.ready().await.ok() == Some(count)).then_some(())
        });
    }

    /// Waits until all servers are ready.
    pub async fn wait_all_ready(&self) {
        self.wait_ready(self.servers).await;
    }

    /// Returns the number of servers whose last probe succeeded.
    async fn ready(&self) -> anyhow::Result<usize> {
        let mut socket = UnixStream::connect(stats_socket(&self.directory)).await?;
        socket.write_all(b"show stat -1 4 -1\n").await?;
        let mut table = String::new();
        socket.read_to_string(&mut table).await?;
        let names = table.lines().next().unwrap_or_default();
        let column = names.split(',').position(|name| name == "check_status").context("haproxy reports no checks")?;
        Ok(table.lines().filter(|line| line.split(',').nth(column) == Some("L7OK")).count())
    }
}

fn stats_socket(directory: &TempDir) -> PathBuf {
    directory.path().join("stats")
}

fn render_configuration(stats: &std::path::Path, servers: &[BalancerBackend]) -> String {
    let mut text = format!("global\n  maxconn {CONNECTIONS}\n  stats socket {}\n{SETTINGS}", stats.display());
    for (number, server) in servers.iter().enumerate() {
        let (traffic, probe) = (server.traffic, server.probe);
        writeln!(text, "  server server{number} {traffic} check addr {} port {}", probe.ip(), probe.port())
            .expect("writing to a string succeeds");
    }
    text
}
