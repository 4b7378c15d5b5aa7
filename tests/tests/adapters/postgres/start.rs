//! Start-up errors of the PostgreSQL client: a specific error for each cause, with the setting to change.

use shim::postgres::{PostgresClient, PostgresSettings, PostgresStartupError};
use shim::secret::Secret;
use tests::postgres::{PASSWORD, PostgresOptions, PostgresServer, USER};
use tests::redis::{Certificates, free_port};

use super::{connect, log, message, settings};
use handlers::ports::MessageLog as _;

async fn startup_error(settings: PostgresSettings) -> PostgresStartupError {
    match PostgresClient::connect(settings).await {
        Ok(_) => panic!("the client connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_rejected_login_is_reported_without_the_password() {
    let server = PostgresServer::start().unwrap();
    let wrong = settings(&server.url().replace(PASSWORD, "wr0ng"));
    let error = startup_error(wrong.clone()).await;
    assert!(matches!(&error, PostgresStartupError::InvalidCredentials { user, .. } if user == USER), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wr0ng"), "the error contains a password: {error:?}");
    assert!(PostgresClient::connect(PostgresSettings { password: Some(Secret::new(PASSWORD)), ..wrong }).await.is_ok());

    let error = startup_error(settings(&server.url().replace("/postgres", "/missing"))).await;
    assert!(
        matches!(&error, PostgresStartupError::UnknownDatabase { database, .. } if database == "missing"),
        "{error:?}"
    );

    server.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
    let error = startup_error(settings(&server.url().replace("/postgres", "/latin"))).await;
    assert!(
        matches!(&error, PostgresStartupError::UnsupportedEncoding { found, .. } if found == "LATIN1"),
        "{error:?}"
    );

    let error = startup_error(settings(&format!("{}?sslmode=require", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::TlsUnsupported { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_the_grant_to_execute() {
    let server = PostgresServer::start().unwrap();
    server.query("CREATE ROLE guest LOGIN PASSWORD 'guest'").unwrap();
    let owner = settings(&server.url());
    let schema = owner.schema.clone();
    let guest = settings(&server.url().replace(&format!("{USER}:{PASSWORD}"), "guest:guest"));
    let guest = PostgresSettings { schema: schema.clone(), ..guest };
    let error = startup_error(guest.clone()).await;
    assert!(matches!(&error, PostgresStartupError::MissingPermission { user, .. } if user == "guest"), "{error:?}");
    assert!(error.to_string().contains("GRANT"), "{error}");

    // Tables created by one user and used by another.
    connect(&owner).await;
    let error = startup_error(guest.clone()).await;
    assert!(matches!(&error, PostgresStartupError::MissingPermission { .. }), "{error:?}");
    server
        .query(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO guest"
        ))
        .unwrap();
    let error = startup_error(guest.clone()).await;
    let PostgresStartupError::MissingPermission { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("INSERT on messages") && !reason.contains("SELECT"), "{reason}");
    server.query(&format!("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO guest")).unwrap();
    let log = log(&guest).await;
    assert_eq!(log.append(message("m1")).await.unwrap().position.offset.0, 1, "the reported grants are sufficient");
}

#[tokio::test]
async fn tls_is_verified_if_an_authority_is_configured() {
    let tls = Certificates::generate().unwrap();
    let access = "hostssl all all 127.0.0.1/32 scram-sha-256".to_owned();
    let server = PostgresServer::start_with(PostgresOptions {
        tls: Some(tls.clone()),
        access: Some(access),
        ..PostgresOptions::default()
    })
    .unwrap();
    let error = startup_error(settings(&format!("{}?sslmode=disable", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::TlsRequired { .. }), "{error:?}");
    let error = startup_error(settings(&format!("{}?sslmode=verify-full", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::UntrustedCertificate { .. }), "{error:?}");
    let other = Certificates::generate().unwrap();
    let untrusting = PostgresSettings { tls: crate::trusting(other.authority()), ..settings(&server.url()) };
    let error = startup_error(untrusting).await;
    assert!(matches!(error, PostgresStartupError::UntrustedCertificate { .. }), "{error:?}");
    let missing_file = PostgresSettings { tls: crate::trusting("/missing_file/ca.pem"), ..settings(&server.url()) };
    assert!(matches!(startup_error(missing_file).await, PostgresStartupError::TlsFile(_)));
    connect(&PostgresSettings { tls: crate::trusting(tls.authority()), ..settings(&server.url()) }).await;
    connect(&settings(&server.url())).await;
}

#[tokio::test]
async fn a_denied_login_is_reported_with_the_servers_message() {
    let access = "host all other_user 127.0.0.1/32 trust\nhost postgres twinway 127.0.0.1/32 scram-sha-256".to_owned();
    let server =
        PostgresServer::start_with(PostgresOptions { access: Some(access), ..PostgresOptions::default() }).unwrap();
    let error = startup_error(settings(&server.url().replace(USER, "unknown"))).await;
    assert!(
        matches!(&error, PostgresStartupError::TlsRequired { .. } | PostgresStartupError::LoginDenied { .. }),
        "{error:?}"
    );
    let error = startup_error(settings(&server.url().replace(USER, "other_user"))).await;
    assert!(
        matches!(&error, PostgresStartupError::LoginDenied { reason, .. } if reason.contains("other_user")),
        "{error:?}"
    );
}

#[tokio::test]
async fn modified_tables_are_reported() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    connect(&settings).await;
    server.query(&format!("UPDATE {}.migrations SET checksum = 'x'", settings.schema)).unwrap();
    let error = startup_error(settings.clone()).await;
    assert!(
        matches!(&error, PostgresStartupError::SchemaMismatch { schema, .. } if *schema == settings.schema),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_unreachable_server_is_reported_with_its_address() {
    let port = free_port().unwrap();
    let error = startup_error(settings(&format!("postgres://me:hidden@127.0.0.1:{port}/x"))).await;
    assert!(matches!(error, PostgresStartupError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error:?} {error}").contains("hidden"), "the error contains a password: {error:?}");
    assert!(matches!(startup_error(settings("postgres://x:y:z")).await, PostgresStartupError::InvalidAddress(_)));
}

#[tokio::test]
async fn concurrent_clients_create_the_tables_once() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    futures_util::future::join_all((0..6).map(|_| connect(&settings))).await;
    assert_eq!(server.query(&format!("SELECT count(*) FROM {}.log", settings.schema)).unwrap(), "1");
}
