//! What the link says when it cannot be made: each mistake by its name, with what to change.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use shim::redis::{RedisClient, RedisSettings, RedisStartupError, RedisTopology};
use shim::secret::Secret;
use tests::redis::{Certificates, RedisCluster, RedisOptions, RedisSentinels, RedisServer, free_port};

use super::contracts::sentinel_settings;
use super::settings;

async fn refusal(settings: RedisSettings) -> RedisStartupError {
    match RedisClient::connect(settings).await {
        Ok(_) => panic!("the link was made"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_without_showing_it() {
    let server = RedisServer::start_with(RedisOptions::default().with_setting("requirepass", "right")).unwrap();
    for url in [server.url(), server.url().replace("://", "://:wr0ng@")] {
        let error = refusal(settings(&url)).await;
        assert!(matches!(error, RedisStartupError::InvalidCredentials { .. }), "{url}: {error:?}");
        assert!(error.to_string().contains("redis.password"), "{error}");
        assert!(!format!("{error:?} {error}").contains("wr0ng"), "a password was shown: {error:?}");
    }
    let right = server.url().replace("://", "://:right@");
    assert!(RedisClient::connect(settings(&right)).await.is_ok(), "the right one is taken");
}

#[tokio::test]
async fn a_user_without_permission_is_told_what_it_needs() {
    for (rules, missing) in [
        ("alice on >pw ~other:* &* +@all", "key"),
        ("alice on >pw ~* &* +@all -eval", "eval"),
        ("alice on >pw ~* &other:* +@all", "channel"),
    ] {
        let server = RedisServer::start_with(RedisOptions::default().with_setting("user", rules)).unwrap();
        let user = server.url().replace("://", "://alice:pw@");
        let error = refusal(settings(&user)).await;
        let RedisStartupError::MissingPermission { refused, .. } = &error else { panic!("{rules}: {error:?}") };
        assert!(refused.contains(missing), "{rules}: {refused}");
        assert!(error.to_string().contains("twinway:*"), "{error}");
    }
}

#[tokio::test]
async fn tls_and_no_tls_are_told_apart() {
    let plain = RedisServer::start().unwrap();
    let error = refusal(settings(&plain.url().replace("redis://", "rediss://"))).await;
    assert!(matches!(error, RedisStartupError::TlsUnsupported { .. }), "{error:?}");

    let tls = Certificates::generate().unwrap();
    let secure = RedisServer::start_with(RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() }).unwrap();
    let error = refusal(settings(&secure.url().replace("rediss://", "redis://"))).await;
    assert!(matches!(error, RedisStartupError::TlsRequired { .. }), "{error:?}");

    let error = refusal(settings(&secure.url())).await;
    assert!(matches!(error, RedisStartupError::UntrustedCertificate { .. }), "{error:?}");
    let nowhere = RedisSettings { ca_file: Some("/nowhere/ca.pem".into()), ..settings(&secure.url()) };
    assert!(matches!(refusal(nowhere).await, RedisStartupError::CertificateFile { .. }));
    let trusted = RedisSettings { ca_file: Some(tls.authority()), ..settings(&secure.url()) };
    assert!(RedisClient::connect(trusted).await.is_ok(), "a trusted one is taken");
}

#[tokio::test]
async fn another_topology_is_told_with_the_right_one() {
    let server = RedisServer::start().unwrap();
    let as_cluster = RedisSettings { topology: RedisTopology::Cluster, ..settings(&server.url()) };
    let as_sentinel = RedisSettings { topology: RedisTopology::Sentinel, ..settings(&server.url()) };
    for wrong in [as_cluster, as_sentinel] {
        let error = refusal(wrong).await;
        assert!(matches!(error, RedisStartupError::WrongTopology { right: "single", .. }), "{error:?}");
    }
    let cluster = RedisCluster::start().unwrap();
    let error = refusal(settings(&cluster.urls()[0])).await;
    assert!(matches!(error, RedisStartupError::WrongTopology { right: "cluster", .. }), "{error:?}");
}

#[tokio::test]
async fn sentinels_and_replicas_are_told_from_writable_servers() {
    let sentinels = RedisSentinels::start().unwrap();
    let error = refusal(settings(&sentinels.urls()[0])).await;
    assert!(matches!(error, RedisStartupError::WrongTopology { right: "sentinel", .. }), "{error:?}");
    let unknown = RedisSettings { sentinel_master: "nobody".to_owned(), ..sentinel_settings(&sentinels) };
    let error = refusal(unknown).await;
    assert!(matches!(&error, RedisStartupError::UnknownMaster { name, .. } if name == "nobody"), "{error:?}");
    let error = refusal(settings(&sentinels.servers()[1].url())).await;
    assert!(matches!(error, RedisStartupError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_server_is_told_with_the_setting_that_helps() {
    let server = RedisServer::start_with(RedisOptions::default().with_setting("maxmemory", "1")).unwrap();
    let error = refusal(settings(&server.url())).await;
    assert!(matches!(error, RedisStartupError::OutOfMemory { .. }), "{error:?}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
}

#[tokio::test]
async fn an_old_server_is_told_with_what_is_needed() {
    for (version, least) in [("6.0.16", "6.2"), ("5.0.7", "6.2")] {
        let error = refusal(settings(&old_server(version))).await;
        let RedisStartupError::UnsupportedVersion { least: told, .. } = &error else { panic!("{version}: {error:?}") };
        assert_eq!(told, least, "{version}");
    }
}

#[tokio::test]
async fn an_absent_server_is_told_with_its_address() {
    let port = free_port().unwrap();
    let error = refusal(settings(&format!("redis://:hidden@127.0.0.1:{port}"))).await;
    assert!(matches!(error, RedisStartupError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error:?} {error}").contains("hidden"), "a password was shown: {error:?}");
    // The first address of several may be away.
    let server = RedisServer::start().unwrap();
    let dead =
        RedisSettings { response_timeout: Duration::from_secs(2), ..settings(&format!("redis://127.0.0.1:{port}")) };
    let cluster = RedisSettings {
        urls: vec![dead.urls[0].clone(), Secret::new(&server.url())],
        topology: RedisTopology::Cluster,
        ..dead
    };
    assert!(
        matches!(refusal(cluster).await, RedisStartupError::WrongTopology { .. }),
        "the second address was not asked"
    );
}

#[tokio::test]
async fn what_is_no_address_is_told() {
    assert!(matches!(refusal(settings("nonsense")).await, RedisStartupError::InvalidAddress(_)));
}

/// A server that greets as an old Redis does, because none is packaged any more: 5 knows no `HELLO`, 6.0 says its version.
fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                // The names of commands; what is around them is framing and arguments.
                let answer = match line.to_uppercase().as_str() {
                    "HELLO" if version.starts_with('5') => {
                        "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n".to_owned()
                    }
                    "HELLO" => greeting(version),
                    "CLIENT" | "PING" => "+OK\r\n".to_owned(),
                    _ => continue,
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    url
}

fn greeting(version: &str) -> String {
    let fields = [("server", "redis"), ("version", version), ("mode", "standalone"), ("role", "master")];
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let pairs: String = fields.iter().map(|(name, value)| bulk(name) + &bulk(value)).collect();
    format!("%{}\r\n{pairs}", fields.len())
}
