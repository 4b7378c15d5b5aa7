//! Functions that call their API under its own host names, as handlers do that were written for AWS: unmodified SDKs in
//! six languages, and the callers that the endpoint proxy rejects.

mod languages;

use tests::client::http::HttpCaller;
use tests::conformance::client::ConformanceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::{ask, connect, launch};

/// Host name of the test server's API.
const API_HOST: &str = "twinway.execute-api.us-east-1.amazonaws.com";

/// Address and secret of the endpoint proxy, as a function receives them.
struct ProxyAccess {
    url: String,
    address: String,
    password: String,
}

async fn proxy_access(client: &mut ConformanceClient) -> ProxyAccess {
    let url = ask(client, "env HTTPS_PROXY").await;
    let (user, address) = url.strip_prefix("http://functions:").and_then(|rest| rest.split_once('@')).unwrap();
    ProxyAccess { address: address.to_owned(), password: user.to_owned(), url }
}

/// Sends a request head to the proxy and returns the status of its response.
async fn request(address: &str, head: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        reply.push(stream.read_u8().await.unwrap());
    }
    let status = String::from_utf8(reply).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    (stream, status)
}

fn connect_head(target: &str, password: &str) -> String {
    use base64::Engine as _;
    let credentials = base64::prelude::BASE64_STANDARD.encode(format!("functions:{password}"));
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_to_other_hosts_are_forwarded_unchanged() {
    let mut server = launch().start().await;
    let access = proxy_access(&mut connect(&server).await).await;
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = host.local_addr().unwrap().to_string();
    let (mut client, status) = request(&access.address, &connect_head(&target, &access.password)).await;
    assert_eq!(status, 200);
    let (mut accepted, _) = host.accept().await.unwrap();
    // Looks like TLS, which is not touched.
    let sent: Vec<u8> = [22, 3, 1].into_iter().chain((0..=255).cycle().take(100_000)).collect();
    let (mut there, mut back) = (vec![0; sent.len()], vec![0; 3]);
    tokio::join!(async { client.write_all(&sent).await.unwrap() }, async {
        accepted.read_exact(&mut there).await.unwrap();
    });
    assert_eq!(there, sent);
    accepted.write_all(&[0, 1, 2]).await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(back, [0, 1, 2]);
    drop(host);
    let (_, status) = request(&access.address, &connect_head(&target, &access.password)).await;
    assert_eq!(status, 502, "the host does not listen any more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hosts_are_reached_through_the_proxy_of_the_server() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:hunter2@{}", upstream.local_addr().unwrap());
    let mut server = launch().with_env("HTTPS_PROXY", url).with_env("NO_PROXY", "127.0.0.1").start().await;
    let access = proxy_access(&mut connect(&server).await).await;
    let head = connect_head("orders.example:443", &access.password);
    let (reached, (mut client, status)) =
        tokio::join!(accept_proxy_request(&upstream), request(&access.address, &head));
    let (mut stream, seen) = reached;
    assert!(seen.starts_with("CONNECT orders.example:443 ") && seen.contains("Basic bWU6aHVudGVyMg=="), "{seen}");
    assert!(!seen.contains(&access.password) && status == 200, "{seen}");
    client.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
    drop(upstream);
    let direct = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = direct.local_addr().unwrap().to_string();
    assert_eq!(request(&access.address, &connect_head(&target, &access.password)).await.1, 200, "excepted");
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("hunter2") && !exit.stderr.contains("orders.example"), "{}", exit.stderr);
}

/// Accepts a `CONNECT` and returns its head.
async fn accept_proxy_request(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_no_functions_cannot_use_the_proxy() {
    let mut server = launch().start().await;
    let access = proxy_access(&mut connect(&server).await).await;
    let targets = [format!("{API_HOST}:443"), "192.0.2.1:443".to_owned()];
    for target in &targets {
        let without = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}");
        assert_eq!(request(&access.address, &without).await.1, 407);
        assert_eq!(request(&access.address, &connect_head(target, "wrong")).await.1, 407);
    }
    let page = format!("GET / HTTP/1.1\r\nHost: {}\r\nOrigin: https://evil.example", access.address);
    assert_eq!(request(&access.address, &page).await.1, 407);
    let other_region = connect_head("twinway.execute-api.eu-west-1.amazonaws.com:443", &access.password);
    assert_eq!(request(&access.address, &other_region).await.1, 502);
    let exit = server.stop().await;
    assert!(
        !exit.stderr.contains(&access.password) && !exit.stdout.contains(&access.password),
        "the secret was printed"
    );
}

/// Runs curl with these arguments and returns its exit code and output.
async fn curl(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("curl");
    command.env_clear().args(["--silent", "--show-error", "--max-time", "20"]).args(arguments).kill_on_drop(true);
    let output = command.output().await.expect("curl is installed");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_programs_with_the_authority_trust_the_certificate() {
    let mut server = launch().start().await;
    let mut client = connect(&server).await;
    let access = proxy_access(&mut client).await;
    let authority = ask(&mut client, "env TWINWAY_ENDPOINT_CA").await;
    let url = format!("https://{API_HOST}/prod");
    let proxied = ["--proxy", &access.url, &url, "--output", "/dev/null", "--write-out", "%{http_code}"];
    assert_eq!(curl(&proxied).await.0, 60, "a program outside trusts the certificate");
    let (code, status) = curl(&[&proxied[..], &["--cacert", &authority]].concat()).await;
    assert_eq!((code, &*status), (0, "426"), "a WebSocket route");
    // The same port speaks TLS, but not without the secret.
    let direct = format!("{API_HOST}:443:{}", access.address);
    let (code, _) = curl(&["--connect-to", &direct, "--cacert", &authority, &url]).await;
    assert_ne!(code, 0);
    let bundle = ask(&mut client, "env SSL_CERT_FILE").await;
    let bundle = std::fs::read_to_string(bundle).unwrap();
    assert!(bundle.contains(&std::fs::read_to_string(&authority).unwrap()), "the bundle has the authority");
    server.stop().await;
    assert!(!std::path::Path::new(&authority).exists(), "the files remain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_proxy_functions_receive_none_of_its_variables() {
    let mut server = launch().with_env("TWINWAY_FUNCTIONS_ENDPOINT_PROXY", "off").start().await;
    let mut client = connect(&server).await;
    for name in ["HTTPS_PROXY", "NODE_OPTIONS", "RUBYOPT", "JAVA_TOOL_OPTIONS", "AWS_CA_BUNDLE", "TWINWAY_ENDPOINT_CA"]
    {
        assert_eq!(ask(&mut client, &format!("env {name}")).await, "absent", "{name}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_check_names_the_hosts() {
    let server = launch().with_env("TWINWAY_HOSTS", "chat.example,*.example").start().await;
    let exit = server.run_command(&["config", "check"]).await;
    let line = format!("functions reach this server as https://HOST/prod; HOST: {API_HOST}, ");
    assert!(exit.stdout.contains(&line) && exit.stdout.contains(", chat.example\n"), "{}", exit.stdout);
    let reply = HttpCaller::with_base_url(&format!("http://{}", server.traffic)).get("/").await;
    assert_eq!(reply.status, 200);
}
