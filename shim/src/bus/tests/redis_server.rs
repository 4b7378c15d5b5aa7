//! A real Redis server of a test's own, on a free port of this machine, gone when it is dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::pods::eventually;

/// The server.
pub struct RedisServer {
    address: SocketAddr,
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut server = Self { address, directory: TempDir::new().unwrap(), child: None };
        server.start_again().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again, at the same place, empty.
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
