//! Start-up errors of the Redis client: a specific error for each cause, with the setting to change.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use shim::redis::{RedisClient, RedisSettings, RedisStartupError, RedisTopology};
use shim::secret::Secret;
use tests::redis::{Certificates, RedisCluster, RedisOptions, RedisSentinels, RedisServer, free_port};

use super::contracts::sentinel_settings;
use super::settings;

async fn startup_error(settings: RedisSettings) -> RedisStartupError {
    match RedisClient::connect(settings).await {
        Ok(_) => panic!("the client connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_reported_without_showing_it() {
    let server = RedisServer::start_with(RedisOptions::default().with_setting("requirepass", "right")).unwrap();
    for url in [server.url(), server.url().replace("://", "://:wr0ng@")] {
        let error = startup_error(settings(&url)).await;
        assert!(matches!(error, RedisStartupError::InvalidCredentials { .. }), "{url}: {error:?}");
        assert!(error.to_string().contains("redis.password"), "{error}");
        assert!(!format!("{error:?} {error}").contains("wr0ng"), "the error contains a password: {error:?}");
    }
    let right = server.url().replace("://", "://:right@");
    assert!(RedisClient::connect(settings(&right)).await.is_ok(), "the right password is accepted");
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_the_rule_to_add() {
    for (rules, missing) in [
        ("alice on >pw ~other:* &* +@all", "key"),
        ("alice on >pw ~* &* +@all -eval", "eval"),
        ("alice on >pw ~* &other:* +@all", "channel"),
    ] {
        let server = RedisServer::start_with(RedisOptions::default().with_setting("user", rules)).unwrap();
        let user = server.url().replace("://", "://alice:pw@");
        let error = startup_error(settings(&user)).await;
        let RedisStartupError::MissingPermission { reason: refused, .. } = &error else { panic!("{rules}: {error:?}") };
        assert!(refused.contains(missing), "{rules}: {refused}");
        assert!(error.to_string().contains("twinway:*"), "{error}");
    }
}

#[tokio::test]
async fn tls_mismatches_are_reported() {
    let plain = RedisServer::start().unwrap();
    let error = startup_error(settings(&plain.url().replace("redis://", "rediss://"))).await;
    assert!(matches!(error, RedisStartupError::TlsUnsupported { .. }), "{error:?}");

    let tls = Certificates::generate().unwrap();
    let secure = RedisServer::start_with(RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() }).unwrap();
    let error = startup_error(settings(&secure.url().replace("rediss://", "redis://"))).await;
    assert!(matches!(error, RedisStartupError::TlsRequired { .. }), "{error:?}");

    let error = startup_error(settings(&secure.url())).await;
    assert!(matches!(error, RedisStartupError::UntrustedCertificate { .. }), "{error:?}");
    let missing_file = RedisSettings { tls: crate::trusting("/missing_file/ca.pem"), ..settings(&secure.url()) };
    assert!(matches!(startup_error(missing_file).await, RedisStartupError::TlsFile(_)));
    let trusted = RedisSettings { tls: crate::trusting(tls.authority()), ..settings(&secure.url()) };
    assert!(RedisClient::connect(trusted).await.is_ok(), "a trusted certificate is accepted");
}

#[tokio::test]
async fn a_wrong_topology_is_reported_with_the_right_one() {
    let server = RedisServer::start().unwrap();
    let as_cluster = RedisSettings { topology: RedisTopology::Cluster, ..settings(&server.url()) };
    let as_sentinel = RedisSettings { topology: RedisTopology::Sentinel, ..settings(&server.url()) };
    for wrong in [as_cluster, as_sentinel] {
        let error = startup_error(wrong).await;
        assert!(matches!(error, RedisStartupError::WrongTopology { expected: "single", .. }), "{error:?}");
    }
    let cluster = RedisCluster::start().unwrap();
    let error = startup_error(settings(&cluster.urls()[0])).await;
    assert!(matches!(error, RedisStartupError::WrongTopology { expected: "cluster", .. }), "{error:?}");
}

#[tokio::test]
async fn sentinels_and_replicas_are_distinguished_from_writable_servers() {
    let sentinels = RedisSentinels::start().unwrap();
    let error = startup_error(settings(&sentinels.urls()[0])).await;
    assert!(matches!(error, RedisStartupError::WrongTopology { expected: "sentinel", .. }), "{error:?}");
    let unknown = RedisSettings { sentinel_master: "unknown".to_owned(), ..sentinel_settings(&sentinels) };
    let error = startup_error(unknown).await;
    assert!(matches!(&error, RedisStartupError::UnknownMaster { name, .. } if name == "unknown"), "{error:?}");
    let error = startup_error(settings(&sentinels.servers()[1].url())).await;
    assert!(matches!(error, RedisStartupError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_server_is_reported_with_the_setting_to_change() {
    let server = RedisServer::start_with(RedisOptions::default().with_setting("maxmemory", "1")).unwrap();
    let error = startup_error(settings(&server.url())).await;
    assert!(matches!(error, RedisStartupError::OutOfMemory { .. }), "{error:?}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
}

#[tokio::test]
async fn an_old_server_is_reported_with_the_required_version() {
    for (version, least) in [("6.0.16", "6.2"), ("5.0.7", "6.2")] {
        let error = startup_error(settings(&old_server(version))).await;
        let RedisStartupError::UnsupportedVersion { minimum: told, .. } = &error else {
            panic!("{version}: {error:?}")
        };
        assert_eq!(told, least, "{version}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_reported_with_its_address() {
    let port = free_port().unwrap();
    let error = startup_error(settings(&format!("redis://:hidden@127.0.0.1:{port}"))).await;
    assert!(matches!(error, RedisStartupError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error:?} {error}").contains("hidden"), "the error contains a password: {error:?}");
    // The first of several addresses may be unreachable.
    let server = RedisServer::start().unwrap();
    let unreachable =
        RedisSettings { response_timeout: Duration::from_secs(2), ..settings(&format!("redis://127.0.0.1:{port}")) };
    let cluster = RedisSettings {
        urls: vec![unreachable.urls[0].clone(), Secret::new(&server.url())],
        topology: RedisTopology::Cluster,
        ..unreachable
    };
    assert!(
        matches!(startup_error(cluster).await, RedisStartupError::WrongTopology { .. }),
        "the second address was not tried"
    );
}

#[tokio::test]
async fn an_invalid_address_is_reported() {
    assert!(matches!(startup_error(settings("nonsense")).await, RedisStartupError::InvalidAddress(_)));
}

/// Starts a fake server that replies like an old Redis, because no package provides one: 5 does not know `HELLO`, 6.0
/// reports its version.
fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                // Lines with command names; the other lines are framing and arguments.
                let reply = match line.to_uppercase().as_str() {
                    "HELLO" if version.starts_with('5') => {
                        "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n".to_owned()
                    }
                    "HELLO" => hello_reply(version),
                    "CLIENT" | "PING" => "+OK\r\n".to_owned(),
                    _ => continue,
                };
                if stream.write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    url
}

fn hello_reply(version: &str) -> String {
    let fields = [("server", "redis"), ("version", version), ("mode", "standalone"), ("role", "master")];
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let pairs: String = fields.iter().map(|(name, value)| bulk(name) + &bulk(value)).collect();
    format!("%{}\r\n{pairs}", fields.len())
}
