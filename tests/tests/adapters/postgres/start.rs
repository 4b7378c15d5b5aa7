//! What the link says when it cannot be made: each mistake by its name, with what to change.

use shim::postgres::{PostgresClient, PostgresSettings, PostgresStartupError};
use shim::secret::Secret;
use tests::postgres::{PASSWORD, PostgresOptions, PostgresServer, USER};
use tests::redis::{Certificates, free_port};

use super::{connect, log, message, settings};
use handlers::ports::MessageLog as _;

async fn refusal(settings: PostgresSettings) -> PostgresStartupError {
    match PostgresClient::connect(settings).await {
        Ok(_) => panic!("the link was made"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_told_without_the_password() {
    let server = PostgresServer::start().unwrap();
    let wrong = settings(&server.url().replace(PASSWORD, "wr0ng"));
    let error = refusal(wrong.clone()).await;
    assert!(matches!(&error, PostgresStartupError::InvalidCredentials { user, .. } if user == USER), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wr0ng"), "a password was shown: {error:?}");
    assert!(PostgresClient::connect(PostgresSettings { password: Some(Secret::new(PASSWORD)), ..wrong }).await.is_ok());

    let error = refusal(settings(&server.url().replace("/postgres", "/nowhere"))).await;
    assert!(
        matches!(&error, PostgresStartupError::UnknownDatabase { database, .. } if database == "nowhere"),
        "{error:?}"
    );

    server.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
    let error = refusal(settings(&server.url().replace("/postgres", "/latin"))).await;
    assert!(
        matches!(&error, PostgresStartupError::UnsupportedEncoding { found, .. } if found == "LATIN1"),
        "{error:?}"
    );

    let error = refusal(settings(&format!("{}?sslmode=require", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::TlsUnsupported { .. }), "{error:?}");
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_it_needs() {
    let server = PostgresServer::start().unwrap();
    server.query("CREATE ROLE guest LOGIN PASSWORD 'guest'").unwrap();
    let owner = settings(&server.url());
    let schema = owner.schema.clone();
    let guest = settings(&server.url().replace(&format!("{USER}:{PASSWORD}"), "guest:guest"));
    let guest = PostgresSettings { schema: schema.clone(), ..guest };
    let error = refusal(guest.clone()).await;
    assert!(matches!(&error, PostgresStartupError::MissingPermission { user, .. } if user == "guest"), "{error:?}");
    assert!(error.to_string().contains("GRANT"), "{error}");

    // Made by one user, used by another.
    connect(&owner).await;
    let error = refusal(guest.clone()).await;
    assert!(matches!(&error, PostgresStartupError::MissingPermission { .. }), "{error:?}");
    server
        .query(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO guest"
        ))
        .unwrap();
    let error = refusal(guest.clone()).await;
    let PostgresStartupError::MissingPermission { refused, .. } = &error else { panic!("{error:?}") };
    assert!(refused.contains("INSERT on messages") && !refused.contains("SELECT"), "{refused}");
    server.query(&format!("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO guest")).unwrap();
    let log = log(&guest).await;
    assert_eq!(log.append(message("m1")).await.unwrap().position.offset.0, 1, "what the text asks for is enough");
}

#[tokio::test]
async fn tls_is_verified_when_an_authority_is_named() {
    let tls = Certificates::generate().unwrap();
    let access = "hostssl all all 127.0.0.1/32 scram-sha-256".to_owned();
    let server = PostgresServer::start_with(PostgresOptions { tls: Some(tls.clone()), access: Some(access) }).unwrap();
    let error = refusal(settings(&format!("{}?sslmode=disable", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::TlsRequired { .. }), "{error:?}");
    let error = refusal(settings(&format!("{}?sslmode=verify-full", server.url()))).await;
    assert!(matches!(error, PostgresStartupError::UntrustedCertificate { .. }), "{error:?}");
    let other = Certificates::generate().unwrap();
    let stranger = PostgresSettings { ca_file: Some(other.authority()), ..settings(&server.url()) };
    let error = refusal(stranger).await;
    assert!(matches!(error, PostgresStartupError::UntrustedCertificate { .. }), "{error:?}");
    let nowhere = PostgresSettings { ca_file: Some("/nowhere/ca.pem".into()), ..settings(&server.url()) };
    assert!(matches!(refusal(nowhere).await, PostgresStartupError::CertificateFile { .. }));
    connect(&PostgresSettings { ca_file: Some(tls.authority()), ..settings(&server.url()) }).await;
    connect(&settings(&server.url())).await;
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_told_in_its_words() {
    let access = "host all nobody_else 127.0.0.1/32 trust\nhost postgres twinway 127.0.0.1/32 scram-sha-256".to_owned();
    let server =
        PostgresServer::start_with(PostgresOptions { access: Some(access), ..PostgresOptions::default() }).unwrap();
    let error = refusal(settings(&server.url().replace(USER, "stranger"))).await;
    assert!(
        matches!(&error, PostgresStartupError::TlsRequired { .. } | PostgresStartupError::LoginDenied { .. }),
        "{error:?}"
    );
    let error = refusal(settings(&server.url().replace(USER, "nobody_else"))).await;
    assert!(
        matches!(&error, PostgresStartupError::LoginDenied { refused, .. } if refused.contains("nobody_else")),
        "{error:?}"
    );
}

#[tokio::test]
async fn tables_that_were_changed_are_told() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    connect(&settings).await;
    server.query(&format!("UPDATE {}.migrations SET checksum = 'x'", settings.schema)).unwrap();
    let error = refusal(settings.clone()).await;
    assert!(
        matches!(&error, PostgresStartupError::SchemaMismatch { schema, .. } if *schema == settings.schema),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_absent_server_is_told_with_its_address() {
    let port = free_port().unwrap();
    let error = refusal(settings(&format!("postgres://me:hidden@127.0.0.1:{port}/x"))).await;
    assert!(matches!(error, PostgresStartupError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!format!("{error:?} {error}").contains("hidden"), "a password was shown: {error:?}");
    assert!(matches!(refusal(settings("postgres://x:y:z")).await, PostgresStartupError::InvalidAddress(_)));
}

#[tokio::test]
async fn several_that_start_at_once_make_the_tables_once() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    futures_util::future::join_all((0..6).map(|_| connect(&settings))).await;
    assert_eq!(server.query(&format!("SELECT count(*) FROM {}.log", settings.schema)).unwrap(), "1");
}
