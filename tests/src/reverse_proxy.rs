//! Reverse proxies in front of one server: real haproxy and nginx, with the configurations of common guides.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::child::KillOnDrop;
use crate::eventually;
use crate::ports::free_address;

/// Kind and configuration of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// haproxy in `mode http`, which adds no header.
    HaproxyHttp,
    /// haproxy in `mode http` with these lines in its backend.
    HaproxyWith(&'static str),
    /// haproxy in `mode tcp`; the text follows the server's address, for example `send-proxy`.
    HaproxyTcp(&'static str),
    /// nginx as in most WebSocket recipes, with these lines in its `location`.
    Nginx(&'static str),
}

/// Running proxy; killed on drop.
#[derive(Debug)]
pub struct ReverseProxy {
    /// Address that clients connect to.
    pub address: SocketAddr,
    // Dropped before its directory.
    _child: KillOnDrop,
    _directory: TempDir,
}

impl ReverseProxy {
    /// Starts a proxy in front of `server` and waits until it accepts connections.
    ///
    /// # Errors
    /// The program is not installed.
    pub async fn start(kind: ProxyKind, server: SocketAddr) -> anyhow::Result<Self> {
        let (directory, address) = (tempfile::tempdir()?, free_address());
        let configuration = directory.path().join("proxy.conf");
        let (program, text) = match kind {
            ProxyKind::HaproxyHttp => ("haproxy", haproxy(address, "http", "", &server.to_string())),
            ProxyKind::HaproxyWith(lines) => ("haproxy", haproxy(address, "http", lines, &server.to_string())),
            ProxyKind::HaproxyTcp(options) => ("haproxy", haproxy(address, "tcp", "", &format!("{server} {options}"))),
            ProxyKind::Nginx(lines) => ("nginx", nginx(address, lines, server, directory.path())),
        };
        std::fs::write(&configuration, text)?;
        let mut command = Command::new(program);
        match program {
            "haproxy" => command.args(["-db", "-f"]).arg(&configuration),
            _ => command.arg("-e").arg(directory.path().join("errors")).arg("-c").arg(&configuration),
        };
        let output = File::create(directory.path().join("output"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot run {program}; install it with make setup"))?;
        let proxy = Self { address, _child: KillOnDrop(child), _directory: directory };
        eventually!("the proxy to accept connections", TcpStream::connect(address).await.ok().map(drop));
        Ok(proxy)
    }
}

fn haproxy(address: SocketAddr, mode: &str, lines: &str, server: &str) -> String {
    format!(
        "defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout tunnel 1h\n\
         frontend clients\n  bind {address}\n  default_backend servers\n\
         backend servers\n  {lines}\n  server first {server}\n"
    )
}

fn nginx(address: SocketAddr, lines: &str, server: SocketAddr, directory: &Path) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("  {kind}_temp_path {}/{kind};\n", directory.display())).concat();
    // An unprivileged worker could not use the temporary directory.
    format!(
        "daemon off;\nmaster_process off;\npid {}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
         \x20 map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
         \x20 server {{\n    listen {address};\n    location / {{\n      proxy_pass http://{server};\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n\
         \x20     proxy_set_header Connection $connection_upgrade;\n      proxy_set_header Host $host;\n      {lines}\n\
         \x20   }}\n  }}\n}}\n",
        directory.display()
    )
}
