//! Opening connections: source address, request by hand, and the check of the server's answer.
//!
//! Invariant: a connection is handed out only after a `101` with the right `Sec-WebSocket-Accept`. Tokens are read from a
//! file or an argument, travel in `Sec-WebSocket-Protocol`, and appear in no message of this program.

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

/// The key of every handshake and its answer, from the example of RFC 6455 section 1.3. The key protects against caches
/// that replay answers; none stands on loopback, and a constant spares the generator a hash for every connection.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Most bytes of an answer's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long connecting and the handshake may take together.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The subprotocol that is asked for when there is a token and none is named (`docs/PROTOCOL.md`).
const SUBPROTOCOL: &str = "twinway.v1";

/// How connections are opened; the same arguments in every scenario.
#[derive(clap::Args, Clone)]
pub struct DialOptions {
    /// Where to connect, on the loopback interface: ws://127.0.0.1:PORT/path; of several HOST:PORT, separated by commas,
    /// connections take each in turn
    #[arg(long)]
    pub url: String,
    /// A subprotocol to ask for; may be given several times
    #[arg(long)]
    pub subprotocol: Vec<String>,
    /// Token of every connection, sent as subprotocol `bearer.TOKEN`
    #[arg(long, conflicts_with = "token_file", hide_env_values = true)]
    pub token: Option<String>,
    /// File with one token per line; connections take them in turn
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Another header of the handshake, `Name: value`; may be given several times
    #[arg(long)]
    pub header: Vec<String>,
    /// A text that the server sends to see whether a client is there, and what it wants to hear: 2=3 for Engine.IO
    #[arg(long, value_parser = parse_heartbeat)]
    pub heartbeat: Option<Heartbeat>,
    /// How many source addresses (127.0.0.1, 127.0.0.2, ..) connections take in turn: each has some 28,000 ports
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
    /// Whole requests, one for each token: never empty.
    requests: Vec<String>,
}

impl Dialer {
    /// Prepares the requests.
    ///
    /// # Errors
    /// When the target is not on the loopback interface, or the token file cannot be read or is empty.
    pub fn new(opening: &DialOptions) -> anyhow::Result<Self> {
        let target = Target::parse(&opening.url)?;
        let tokens = match &opening.token_file {
            Some(path) => read_tokens(path)?.into_iter().map(Some).collect(),
            None => vec![opening.token.clone()],
        };
        let requests = tokens.iter().map(|token| request(&target, opening, token.as_deref())).collect();
        Ok(Self { target, sources: opening.sources, heartbeat: opening.heartbeat.clone().map(Rc::new), requests })
    }

    /// Opens connection number `number`, which chooses its source address and its token.
    ///
    /// # Errors
    /// When it does not come about within ten seconds, or the answer is no upgrade; the error tells the status only.
    pub async fn open(&self, number: usize) -> anyhow::Result<Connection> {
        timeout(HANDSHAKE_DEADLINE, self.open_handshake(number)).await.context("the handshake took over ten seconds")?
    }

    async fn open_handshake(&self, number: usize) -> anyhow::Result<Connection> {
        let mut stream = self.connect(number).await.context("connecting")?;
        stream.set_nodelay(true)?;
        stream.write_all(self.requests[number % self.requests.len()].as_bytes()).await?;
        let (read_ahead, inflates) = read_answer(&mut stream).await?;
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
    let (question, answer) = text.split_once('=').context("it is QUESTION=ANSWER")?;
    ensure!(!question.is_empty(), "there is no question before the `=`");
    Ok(Heartbeat::new(question, answer))
}

fn read_tokens(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading tokens from {}", path.display()))?;
    let tokens: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(!tokens.is_empty(), "{} holds no token", path.display());
    Ok(tokens)
}

fn request(target: &Target, opening: &DialOptions, token: Option<&str>) -> String {
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n",
        target.path,
        target.address(0)
    );
    let mut protocols = opening.subprotocol.clone();
    if let Some(token) = token {
        if protocols.is_empty() {
            protocols.push(SUBPROTOCOL.to_owned());
        }
        protocols.push(format!("bearer.{token}"));
    }
    let named = (!protocols.is_empty()).then(|| format!("Sec-WebSocket-Protocol: {}", protocols.join(", ")));
    for header in named.iter().chain(&opening.header) {
        let _ = write!(request, "{header}\r\n");
    }
    request + "\r\n"
}

/// Reads the head of the answer and checks it; returns what came behind it, and whether messages may be compressed.
async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut head = Vec::with_capacity(512);
    loop {
        ensure!(stream.read_buf(&mut head).await? > 0, "the server hung up during the handshake");
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let inflates = check_answer(&head[..end])?;
            return Ok((head.split_off(end + 4), inflates));
        }
        ensure!(head.len() <= HEAD_BYTES, "the answer's head is longer than {HEAD_BYTES} bytes");
    }
}

fn check_answer(head: &[u8]) -> anyhow::Result<bool> {
    let head = std::str::from_utf8(head).context("the answer's head is not text")?;
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    if status.split_ascii_whitespace().nth(1) != Some("101") {
        bail!("the server refused the upgrade: {status}");
    }
    let accept = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim()));
    ensure!(accept == Some(ACCEPT), "the answer has a wrong Sec-WebSocket-Accept");
    Ok(inflate::is_agreed(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(token: Option<&str>) -> DialOptions {
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
    fn the_token_travels_as_a_subprotocol() {
        let dialer = Dialer::new(&opening(Some("abc"))).unwrap();
        let request = &dialer.requests[0];
        assert!(request.starts_with("GET /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Protocol: twinway.v1, bearer.abc\r\n"), "{request}");
        assert!(request.ends_with("\r\nX-A: b\r\n\r\n"), "{request}");
        assert!(!Dialer::new(&opening(None)).unwrap().requests[0].contains("Protocol"));
    }

    #[test]
    fn tokens_of_a_file_are_taken_in_turn() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\ntwo\n").unwrap();
        let plan = DialOptions { token_file: Some(file.path().to_owned()), ..opening(None) };
        assert_eq!(Dialer::new(&plan).unwrap().requests.len(), 2);
        std::fs::write(file.path(), "\n").unwrap();
        assert!(Dialer::new(&plan).is_err());
    }

    #[test]
    fn only_the_right_answer_is_an_upgrade() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}");
        assert!(check_answer(good.as_bytes()).is_ok());
        let refused = check_answer(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0").unwrap_err();
        assert!(refused.to_string().contains("403"));
        assert!(check_answer(b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x").is_err());
    }
}
