//! Key set of an identity provider behind a real haproxy with TLS, and an HTTP proxy in front of it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::child::KillOnDrop;
use crate::redis::Certificates;

/// Running haproxy that answers every request with a key set; killed on drop.
#[derive(Debug)]
pub struct KeySetServer {
    address: SocketAddr,
    _child: KillOnDrop,
    _directory: TempDir,
}

impl KeySetServer {
    /// Starts the server with `keys` as its document. It listens from the start. With `requires_client`, it accepts
    /// clients with a certificate of the same authority only.
    ///
    /// # Errors
    /// haproxy cannot be started.
    pub fn start(certificates: &Certificates, requires_client: bool, keys: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (bundle, document) = (directory.path().join("bundle.pem"), directory.path().join("keys.json"));
        let pem = [std::fs::read(certificates.certificate())?, std::fs::read(certificates.key())?].concat();
        std::fs::write(&bundle, pem)?;
        std::fs::write(&document, keys)?;
        let verify = match requires_client {
            true => format!("ca-file {} verify required", certificates.authority().display()),
            false => String::new(),
        };
        let configuration = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n  mode http\n  timeout client 10s\nfrontend keys\n  bind fd@0 ssl crt {} {verify}\n  \
             http-request return status 200 content-type application/json file {}\n",
            bundle.display(),
            document.display()
        );
        std::fs::write(&configuration, text)?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&configuration).stdin(OwnedFd::from(listener));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("cannot run haproxy; install it with tests/scripts/setup.sh")?;
        Ok(Self { address, _child: KillOnDrop(child), _directory: directory })
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the key set at this host name, which must resolve to this machine.
    #[must_use]
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/jwks.json", self.address.port())
    }
}

/// HTTP proxy that opens tunnels (`CONNECT`) to one server, whatever host the client names; stops on drop.
#[derive(Debug)]
pub struct TunnelProxy {
    address: SocketAddr,
    tunnels: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl TunnelProxy {
    /// Starts a proxy to `server` that requires these credentials (the value of `Proxy-Authorization`), if any.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(server: SocketAddr, credentials: Option<&'static str>) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let tunnels = Arc::new(AtomicUsize::new(0));
        let counted = tunnels.clone();
        let task = TaskTracker::new().spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let counted = counted.clone();
                // A failed tunnel is the client's error.
                open.spawn(async move { drop(tunnel(client, server, credentials, &counted).await) });
            }
        });
        Ok(Self { address, tunnels, _task: AbortOnDropHandle::new(task) })
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of opened tunnels.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::SeqCst)
    }
}

async fn tunnel(
    client: TcpStream,
    server: SocketAddr,
    credentials: Option<&str>,
    tunnels: &AtomicUsize,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let (mut is_connect, mut presented) = (false, None);
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        let line = line.trim_end();
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => {
                presented = Some(value.to_owned());
            }
            _ => is_connect |= line.starts_with("CONNECT "),
        }
    }
    if !is_connect || credentials.is_some_and(|required| presented.as_deref() != Some(required)) {
        let status = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(status.as_bytes()).await;
    }
    let mut server = TcpStream::connect(server).await?;
    tunnels.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
