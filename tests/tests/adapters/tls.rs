//! TLS of every outgoing connection, with real servers: the cause of a rejected certificate, client certificates,
//! private authorities, and a proxy.

use std::sync::Arc;

use handlers::authorizer::{Algorithm, KeySource as _};
use jwks::{FetchSettings, HttpJwks, ProxySettings};
use shim::postgres::{PostgresClient, PostgresSettings, PostgresStartupError};
use shim::redis::{RedisClient, RedisSettings, RedisStartupError};
use system_clock::SystemClock;
use tests::key_server::{KeySetServer, TunnelProxy};
use tests::postgres::{PASSWORD, PostgresOptions, PostgresServer, USER};
use tests::redis::{Certificates, RedisOptions, RedisServer, free_port};
use tls_client::{ClientCertificateFiles, ConnectFailure, TlsFiles};

use crate::trusting;

/// The public key of RFC 8037, appendix A.2.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Server certificates and the cause for which each is rejected by a client that trusts the first authority.
fn untrusted(certificates: &Certificates) -> [(Certificates, ConnectFailure); 3] {
    [
        (certificates.expired().unwrap(), ConnectFailure::CertificateExpired),
        (certificates.for_other_name().unwrap(), ConnectFailure::WrongName),
        (Certificates::generate().unwrap(), ConnectFailure::UnknownAuthority),
    ]
}

fn with_client(certificates: &Certificates) -> TlsFiles {
    let (certificate, key) = certificates.client().unwrap();
    let client_certificate = Some(ClientCertificateFiles { certificate, key });
    TlsFiles { client_certificate, ..trusting(certificates.authority()) }
}

async fn redis_error(url: &str, tls: TlsFiles) -> RedisStartupError {
    match RedisClient::connect(RedisSettings { tls, ..super::redis::settings(url) }).await {
        Ok(_) => panic!("the client connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn redis_reports_what_is_wrong_with_a_certificate() {
    let trusted = Certificates::generate().unwrap();
    for (certificates, expected) in untrusted(&trusted) {
        let tls = Some(certificates);
        let server = RedisServer::start_with(RedisOptions { tls, ..RedisOptions::default() });
        let Ok(server) = server else { panic!("{expected:?}: the server does not start") };
        let error = redis_error(&server.url(), trusting(trusted.authority())).await;
        let RedisStartupError::UntrustedCertificate { cause, .. } = &error else { panic!("{expected:?}: {error:?}") };
        assert_eq!(*cause, expected);
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}

#[tokio::test]
async fn redis_accepts_a_client_certificate_and_its_absence_is_reported() {
    let certificates = Certificates::generate().unwrap();
    let options = RedisOptions { tls: Some(certificates.clone()), ..RedisOptions::default() };
    let server = RedisServer::start_with(options).unwrap();
    server.run_command(&["CONFIG", "SET", "tls-auth-clients", "yes"]).unwrap();
    let error = redis_error(&server.url(), trusting(certificates.authority())).await;
    assert!(
        matches!(&error, RedisStartupError::RejectedClient { cause: ConnectFailure::ClientCertificateRequired, .. }),
        "{error:?}"
    );
    let settings = RedisSettings { tls: with_client(&certificates), ..super::redis::settings(&server.url()) };
    RedisClient::connect(settings).await.unwrap();
}

async fn postgres_error(url: &str, tls: TlsFiles) -> PostgresStartupError {
    match PostgresClient::connect(PostgresSettings { tls, ..super::postgres::settings(url) }).await {
        Ok(_) => panic!("the client connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn postgresql_reports_what_is_wrong_with_a_certificate() {
    let trusted = Certificates::generate().unwrap();
    for (certificates, expected) in untrusted(&trusted) {
        let options = PostgresOptions { tls: Some(certificates), access: None, ..PostgresOptions::default() };
        let server = PostgresServer::start_with(options).unwrap();
        let error = postgres_error(&server.url(), trusting(trusted.authority())).await;
        let PostgresStartupError::UntrustedCertificate { cause, .. } = &error else {
            panic!("{expected:?}: {error:?}")
        };
        assert_eq!(*cause, expected);
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}

#[tokio::test]
async fn postgresql_accepts_a_client_certificate_and_its_absence_is_reported() {
    let certificates = Certificates::generate().unwrap();
    let access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n\
                  hostnossl all all 127.0.0.1/32 scram-sha-256";
    let options = PostgresOptions {
        tls: Some(certificates.clone()),
        access: Some(access.to_owned()),
        ..PostgresOptions::default()
    };
    let server = PostgresServer::start_with(options).unwrap();
    let error = postgres_error(&server.url(), trusting(certificates.authority())).await;
    assert!(
        matches!(&error, PostgresStartupError::LoginDenied { reason, .. } if reason.contains("client certificate")),
        "{error:?}"
    );
    let settings = PostgresSettings { tls: with_client(&certificates), ..super::postgres::settings(&server.url()) };
    PostgresClient::connect(settings).await.unwrap();
}

/// The address 0.0.0.0 is this machine, but not a loopback address, so it represents another machine.
#[tokio::test]
async fn postgresql_on_another_machine_is_verified_by_default() {
    let server = PostgresServer::start().unwrap();
    let url = |host: &str| format!("postgres://{USER}:{PASSWORD}@{host}:{}/postgres", server.port());
    let error = postgres_error(&url("0.0.0.0"), TlsFiles::default()).await;
    assert!(matches!(&error, PostgresStartupError::TlsUnsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("sslmode=disable"), "{error}");
    let settings = super::postgres::settings(&format!("{}?sslmode=disable", url("0.0.0.0")));
    PostgresClient::connect(settings).await.unwrap();
}

fn key_source(url: &str, tls: TlsFiles) -> HttpJwks {
    let settings = FetchSettings { tls: tls.load().unwrap(), ..FetchSettings::default() };
    source_with(url, settings)
}

fn source_with(url: &str, settings: FetchSettings) -> HttpJwks {
    HttpJwks::with_settings(url.parse().unwrap(), settings, Arc::new(SystemClock)).unwrap()
}

async fn found_keys(source: &HttpJwks) -> Result<usize, Option<ConnectFailure>> {
    let keys = source.find_keys(Some("a"), Algorithm::EdDSA).await;
    keys.map(|keys| keys.len()).map_err(|error| ConnectFailure::of(&error))
}

#[tokio::test]
async fn a_key_set_is_fetched_with_a_private_authority() {
    let certificates = Certificates::generate().unwrap();
    let server = KeySetServer::start(&certificates, false, KEYS).unwrap();
    let url = server.url("localhost");
    assert_eq!(found_keys(&key_source(&url, trusting(certificates.authority()))).await, Ok(1));
    let system = key_source(&url, TlsFiles::default());
    assert_eq!(found_keys(&system).await, Err(Some(ConnectFailure::UnknownAuthority)));
}

#[tokio::test]
async fn the_cause_of_a_failed_fetch_is_known() {
    let trusted = Certificates::generate().unwrap();
    for (certificates, cause) in untrusted(&trusted) {
        let server = KeySetServer::start(&certificates, false, KEYS).unwrap();
        let source = key_source(&server.url("127.0.0.1"), trusting(trusted.authority()));
        assert_eq!(found_keys(&source).await, Err(Some(cause)));
    }
    let refused = format!("https://127.0.0.1:{}/", free_port().unwrap());
    assert_eq!(found_keys(&key_source(&refused, TlsFiles::default())).await, Err(Some(ConnectFailure::Refused)));
    let unknown = key_source("https://no-such-host.invalid/", TlsFiles::default());
    assert_eq!(found_keys(&unknown).await, Err(Some(ConnectFailure::UnknownHost)));
    let plain = RedisServer::start().unwrap();
    let not_tls = key_source(&format!("https://127.0.0.1:{}/", plain.port()), TlsFiles::default());
    assert!(found_keys(&not_tls).await.is_err());
}

#[tokio::test]
async fn a_key_set_server_may_require_a_client_certificate_and_have_another_name() {
    let certificates = Certificates::generate().unwrap();
    let server = KeySetServer::start(&certificates, true, KEYS).unwrap();
    let url = server.url("127.0.0.1");
    let without = key_source(&url, trusting(certificates.authority()));
    assert_eq!(found_keys(&without).await, Err(Some(ConnectFailure::ClientCertificateRequired)));
    assert_eq!(found_keys(&key_source(&url, with_client(&certificates))).await, Ok(1));

    let other = certificates.for_other_name().unwrap();
    let server = KeySetServer::start(&other, false, KEYS).unwrap();
    let settings = FetchSettings {
        tls: trusting(certificates.authority()).load().unwrap(),
        server_name: Some("other.example".to_owned()),
        proxy: None,
    };
    assert_eq!(found_keys(&source_with(&server.url("127.0.0.1"), settings)).await, Ok(1));
}

#[tokio::test]
async fn a_key_set_is_fetched_through_a_proxy_unless_its_host_is_excepted() {
    let certificates = Certificates::generate().unwrap();
    let server = KeySetServer::start(&certificates, false, KEYS).unwrap();
    // "user:secret" in base64.
    let proxy = TunnelProxy::start(server.address(), Some("Basic dXNlcjpzZWNyZXQ=")).await.unwrap();
    let fetch = |host: &str, credentials: &str, exceptions: &str| {
        let address = format!("http://{credentials}{}", proxy.address());
        let settings = FetchSettings {
            tls: trusting(certificates.authority()).load().unwrap(),
            server_name: Some("localhost".to_owned()),
            proxy: Some(ProxySettings { address, exceptions: exceptions.to_owned() }),
        };
        source_with(&server.url(host), settings)
    };
    // The name exists for the proxy only.
    assert_eq!(found_keys(&fetch("id.invalid", "user:secret@", "")).await, Ok(1));
    assert_eq!(proxy.tunnels(), 1);
    assert_eq!(found_keys(&fetch("id.invalid", "", "")).await, Err(Some(ConnectFailure::ProxyRejected)));
    for exceptions in ["localhost", "127.0.0.0/8,localhost", "*"] {
        assert_eq!(found_keys(&fetch("localhost", "user:secret@", exceptions)).await, Ok(1), "{exceptions}");
    }
    assert_eq!(proxy.tunnels(), 1, "excepted hosts are reached directly");
}
