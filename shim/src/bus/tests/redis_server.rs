//! A Redis server process for one test, on a free local port, stopped when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::pods::eventually;

/// A running `redis-server` process.
pub struct RedisServer {
    address: SocketAddr,
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it accepts connections.
    pub async fn start() -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut server = Self { address, directory: TempDir::new().unwrap(), child: None };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills the process, as in a crash.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server again, empty, on the same port.
    pub async fn start_again(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(self.address.port().to_string())
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server is installed (tests/scripts/setup.sh)"));
        eventually("the server accepts", async || TcpStream::connect(self.address).await.is_ok()).await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
