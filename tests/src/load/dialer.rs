//! Connection setup: source address, handwritten upgrade request, and validation of the server's response.
//!
//! A connection is returned only after a `101` with the right `Sec-WebSocket-Accept`. Tokens come from a file or an
//! argument, are sent in `Sec-WebSocket-Protocol`, and appear in no message of this program.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::{Connection, Heartbeat};
use super::inflate;
use super::target::Target;

/// Key of every handshake and its accept value, from the example of RFC 6455, section 1.3. The key protects against
/// caches that replay responses; the loopback interface has none, and a constant saves a hash per connection.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Maximum length of a response head in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Timeout of connecting and the handshake together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Default subprotocol of connections with a token (`docs/PROTOCOL.md`).
const SUBPROTOCOL: &str = "twinway.v1";

/// Options for opening connections, common to all scenarios.
#[derive(clap::Args, Clone)]
pub struct DialOptions {
    /// Server on the loopback interface: ws://127.0.0.1:PORT/path; connections alternate between several HOST:PORT
    /// separated by commas
    #[arg(long)]
    pub url: String,
    /// A subprotocol to offer; repeatable
    #[arg(long)]
    pub subprotocol: Vec<String>,
    /// Token of every connection, sent as subprotocol `bearer.TOKEN`
    #[arg(long, conflicts_with = "token_file", hide_env_values = true)]
    pub token: Option<String>,
    /// File with one token per line; connections alternate between them
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Additional header of the handshake, `Name: value`; repeatable
    #[arg(long)]
    pub header: Vec<String>,
    /// Heartbeat message of the server and its reply: 2=3 for Engine.IO
    #[arg(long, value_parser = parse_heartbeat)]
    pub heartbeat: Option<Heartbeat>,
    /// Number of source addresses (127.0.0.1, 127.0.0.2, ..) that connections alternate between: each has about
    /// 28,000 ports
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: u8,
    /// Process id of the server, to measure its CPU time and memory
    #[arg(long)]
    pub server_pid: Option<u32>,
}

/// Opens connections to one target.
pub struct Dialer {
    target: Target,
    sources: u8,
    heartbeat: Option<Rc<Heartbeat>>,
    /// Complete requests, one per token; never empty.
    requests: Vec<String>,
}

impl Dialer {
    /// Prepares the requests.
    ///
    /// # Errors
    /// The target is not on the loopback interface, or the token file cannot be read or is empty.
    pub fn new(options: &DialOptions) -> anyhow::Result<Self> {
        let target = Target::parse(&options.url)?;
        let tokens = match &options.token_file {
            Some(path) => read_tokens(path)?.into_iter().map(Some).collect(),
            None => vec![options.token.clone()],
        };
        let requests = tokens.iter().map(|token| request(&target, options, token.as_deref())).collect();
        Ok(Self { target, sources: options.sources, heartbeat: options.heartbeat.clone().map(Rc::new), requests })
    }

    /// Opens connection number `number`, which selects its source address and its token.
    ///
    /// # Errors
    /// The handshake does not complete within ten seconds, or the response is not an upgrade; the error contains only
    /// the status.
    pub async fn open(&self, number: usize) -> anyhow::Result<Connection> {
        timeout(HANDSHAKE_TIMEOUT, self.open_handshake(number)).await.context("the handshake took over ten seconds")?
    }

    async fn open_handshake(&self, number: usize) -> anyhow::Result<Connection> {
        let mut stream = self.connect(number).await.context("connecting")?;
        stream.set_nodelay(true)?;
        stream.write_all(self.requests[number % self.requests.len()].as_bytes()).await?;
        let (read_ahead, inflates) = read_response(&mut stream).await?;
        Ok(Connection::new(stream, read_ahead).inflating(inflates).answering(self.heartbeat.clone()))
    }

    async fn connect(&self, number: usize) -> std::io::Result<TcpStream> {
        let address = self.target.address(number);
        if address.is_ipv6() {
            return TcpStream::connect(address).await;
        }
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 0, 0, 1 + (number % usize::from(self.sources)) as u8);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        socket.connect(address).await
    }
}

fn parse_heartbeat(text: &str) -> anyhow::Result<Heartbeat> {
    let (request, reply) = text.split_once('=').context("expected MESSAGE=REPLY")?;
    ensure!(!request.is_empty(), "the message before `=` is empty");
    Ok(Heartbeat::new(request, reply))
}

fn read_tokens(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading tokens from {}", path.display()))?;
    let tokens: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(!tokens.is_empty(), "{} contains no token", path.display());
    Ok(tokens)
}

fn request(target: &Target, options: &DialOptions, token: Option<&str>) -> String {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n",
        target.path,
        target.address(0)
    );
    let mut protocols = options.subprotocol.clone();
    if let Some(token) = token {
        if protocols.is_empty() {
            protocols.push(SUBPROTOCOL.to_owned());
        }
        protocols.push(format!("bearer.{token}"));
    }
    let named = (!protocols.is_empty()).then(|| format!("Sec-WebSocket-Protocol: {}", protocols.join(", ")));
    for header in named.iter().chain(&options.header) {
        let _ = write!(request, "{header}\r\n");
    }
    request + "\r\n"
}

/// Reads and checks the response head; returns the bytes after it, and whether messages may be compressed.
async fn read_response(stream: &mut TcpStream) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut head = Vec::with_capacity(512);
    loop {
        ensure!(stream.read_buf(&mut head).await? > 0, "the server closed the connection during the handshake");
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let inflates = check_response(&head[..end])?;
            return Ok((head.split_off(end + 4), inflates));
        }
        ensure!(head.len() <= MAX_HEAD_BYTES, "the response head is longer than {MAX_HEAD_BYTES} bytes");
    }
}

fn check_response(head: &[u8]) -> anyhow::Result<bool> {
    let head = std::str::from_utf8(head).context("the response head is not text")?;
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    if status.split_ascii_whitespace().nth(1) != Some("101") {
        bail!("the server rejected the upgrade: {status}");
    }
    let accept = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim()));
    ensure!(accept == Some(ACCEPT), "the response has a wrong Sec-WebSocket-Accept");
    Ok(inflate::is_agreed(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(token: Option<&str>) -> DialOptions {
        DialOptions {
            url: "ws://127.0.0.1:9/p?q=1".to_owned(),
            subprotocol: Vec::new(),
            token: token.map(str::to_owned),
            token_file: None,
            header: vec!["X-A: b".to_owned()],
            heartbeat: None,
            sources: 8,
            server_pid: None,
        }
    }

    #[test]
    fn the_token_is_sent_as_a_subprotocol() {
        let dialer = Dialer::new(&options(Some("abc"))).unwrap();
        let request = &dialer.requests[0];
        assert!(request.starts_with("GET /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Protocol: twinway.v1, bearer.abc\r\n"), "{request}");
        assert!(request.ends_with("\r\nX-A: b\r\n\r\n"), "{request}");
        assert!(!Dialer::new(&options(None)).unwrap().requests[0].contains("Protocol"));
    }

    #[test]
    fn connections_alternate_between_the_tokens_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\ntwo\n").unwrap();
        let plan = DialOptions { token_file: Some(file.path().to_owned()), ..options(None) };
        assert_eq!(Dialer::new(&plan).unwrap().requests.len(), 2);
        std::fs::write(file.path(), "\n").unwrap();
        assert!(Dialer::new(&plan).is_err());
    }

    #[test]
    fn only_a_valid_response_is_an_upgrade() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}");
        assert!(check_response(good.as_bytes()).is_ok());
        let rejected = check_response(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0").unwrap_err();
        assert!(rejected.to_string().contains("403"));
        assert!(check_response(b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x").is_err());
    }
}
