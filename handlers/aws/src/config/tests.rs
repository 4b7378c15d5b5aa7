//! Tests of the configuration: values read, values rejected, and errors that are complete and contain no secret.

use std::collections::HashMap;

use super::*;

const SECRET: &str = "the-secret-of-these-tests-is-long";

fn minimal_environment<'a>() -> HashMap<&'static str, &'a str> {
    HashMap::from([
        (CONNECTIONS_TABLE, "connections"),
        (MESSAGES_TABLE, "messages"),
        (MANAGEMENT_ENDPOINT, "https://abc.execute-api.eu-west-1.amazonaws.com/prod/"),
        (AUTH_SECRET, SECRET),
    ])
}

fn read(variables: &HashMap<&'static str, &str>) -> Result<(AppConfig, VerifierConfig), EnvironmentError> {
    read_app_and_verifier_config(&variables.iter().map(|(name, value)| (*name, *value)).collect())
}

#[test]
fn the_minimal_environment_is_sufficient() {
    let (app, auth) = read(&minimal_environment()).ok().unwrap();
    assert_eq!(app.management_endpoint, "https://abc.execute-api.eu-west-1.amazonaws.com/prod");
    assert_eq!(app.retention, Duration::from_secs(30 * 86_400));
    assert_eq!(auth.tokens.keys.len(), 1);
    assert_eq!(auth.tokens.leeway, Duration::from_secs(30));
}

#[test]
fn granted_channels_and_presence_names_are_read_and_checked() {
    let mut variables = minimal_environment();
    let (app, auth) = read(&variables).ok().unwrap();
    assert_eq!(app.presence_names, PresenceNames::Rooms);
    assert_eq!(auth.tokens.claims.default_channels.to_string(), "room:*,topic:*");
    variables.insert("TWINWAY_AUTH_DEFAULT_CHANNELS", "room:lobby, topic:*");
    variables.insert("TWINWAY_AUTH_CHANNELS_CLAIM", "app_metadata.channels");
    variables.insert(AUTH_PRESENCE_NAMES, "all");
    let (app, auth) = read(&variables).ok().unwrap();
    assert_eq!(app.presence_names, PresenceNames::All);
    let claims = auth.tokens.claims;
    assert_eq!(claims.default_channels.to_string(), "room:lobby,topic:*");
    assert_eq!(claims.channels.to_string(), "app_metadata.channels");
    variables.insert("TWINWAY_AUTH_DEFAULT_CHANNELS", "lobby");
    variables.insert(AUTH_PRESENCE_NAMES, "everyone");
    let error = read(&variables).err().unwrap().to_string();
    for text in ["TWINWAY_AUTH_DEFAULT_CHANNELS must be a list of 'room:{name}'", "must be 'rooms' or 'all'"] {
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn limits_are_read_and_checked() {
    let mut variables = minimal_environment();
    variables.extend([("TWINWAY_LIMITS_BODY_BYTES", "4KiB"), ("TWINWAY_LIMITS_RESUME_TIME", "1m")]);
    let error = read(&variables).err().unwrap().to_string();
    assert!(error.contains("TWINWAY_LIMITS_RESUME_TIME must be a duration from 1ms to 15s"), "{error}");
    variables.insert("TWINWAY_LIMITS_RESUME_TIME", "1s500ms");
    let limits = read(&variables).ok().unwrap().0.limits;
    assert_eq!((limits.body_bytes, limits.resume_time), (4_096, Duration::from_millis(1_500)));
    assert_eq!(limits.push_messages, Limits::default().push_messages);
}

#[test]
fn a_misspelt_limit_is_rejected_with_the_names_of_all_limits() {
    let mut variables = minimal_environment();
    variables.insert("TWINWAY_LIMITS_BODY_BYTE", "4KiB");
    let error = read(&variables).err().unwrap().to_string();
    assert!(error.contains("TWINWAY_LIMITS_BODY_BYTE is not the variable of a limit"), "{error}");
    assert!(error.contains("TWINWAY_LIMITS_BODY_BYTES, TWINWAY_LIMITS_HISTORY_MESSAGES"), "{error}");
}

#[test]
fn everything_is_read() {
    let mut variables = minimal_environment();
    variables.extend([
        (RETENTION_AGE, "12h"),
        (AUTH_PREVIOUS_SECRETS, "an-earlier-secret-of-these-tests-1,an-earlier-secret-of-these-tests-2"),
        (AUTH_ISSUER, "https://issuer.example,https://old.example"),
        (AUTH_AUDIENCE, "chat, support"),
        (AUTH_MAX_LIFETIME, "1d"),
        ("TWINWAY_AUTH_ROLE_CLAIM", "cognito:groups"),
        ("TWINWAY_AUTH_ADMIN_ROLES", "support,root"),
        (AUTH_LEEWAY, "5s"),
        (AUTH_API_KEYS, "billing:acme:key-of-20-characters"),
    ]);
    let (app, auth) = read(&variables).ok().unwrap();
    assert_eq!(app.retention, Duration::from_secs(12 * 3_600));
    assert_eq!(auth.tokens.keys.len(), 3);
    assert_eq!(auth.tokens.issuers, ["https://issuer.example", "https://old.example"]);
    assert_eq!(auth.tokens.audiences, ["chat", "support"]);
    assert_eq!(auth.tokens.max_lifetime, Some(Duration::from_secs(86_400)));
    assert_eq!(auth.tokens.claims.role, "cognito:groups".parse().unwrap());
    assert_eq!(auth.tokens.claims.admin_roles, ["support", "root"]);
    assert_eq!(auth.tokens.leeway, Duration::from_secs(5));
    assert_eq!(format!("{:?}", auth.api_keys), "[\"billing\"]");
}

#[test]
fn secrets_may_be_arns_of_secrets_manager() {
    const SIGNING_ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:signing-AbCdEf";
    const PREVIOUS_ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:previous-AbCdEf";
    let both = format!("{SIGNING_ARN}, {PREVIOUS_ARN}");
    let mut variables = minimal_environment();
    variables.remove(AUTH_SECRET);
    variables.extend([(AUTH_SECRET_ARN, both.as_str()), (AUTH_API_KEYS_ARN, PREVIOUS_ARN)]);
    let (_, auth) = read(&variables).ok().unwrap();
    assert_eq!(auth.secret_arns, [SIGNING_ARN, PREVIOUS_ARN]);
    assert_eq!(auth.api_keys_arn.as_deref(), Some(PREVIOUS_ARN));
    assert!(auth.tokens.keys.is_empty());
    for (name, value) in [
        (AUTH_SECRET_ARN, "twinway/signing"),
        (AUTH_SECRET_ARN, "arn:aws:s3:::bucket"),
        (AUTH_API_KEYS_ARN, both.as_str()),
        (AUTH_API_KEYS, "billing:acme:key-of-20-characters"),
    ] {
        let mut invalid = variables.clone();
        invalid.insert(name, value);
        assert!(read(&invalid).err().unwrap().to_string().contains("1 error"), "{name}={value}");
    }
}

#[test]
fn all_errors_are_reported_together_and_contain_no_secret() {
    let variables = HashMap::from([
        (MANAGEMENT_ENDPOINT, "abc.execute-api"),
        (RETENTION_AGE, "5"),
        (AUTH_SECRET, "hush"),
        (AUTH_JWKS, "{}"),
        (AUTH_API_KEYS, "billing:acme:whisper"),
    ]);
    let text = read(&variables).err().unwrap().to_string();
    for name in
        [CONNECTIONS_TABLE, MESSAGES_TABLE, MANAGEMENT_ENDPOINT, RETENTION_AGE, AUTH_SECRET, AUTH_JWKS, AUTH_API_KEYS]
    {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    assert!(!text.contains("hush") && !text.contains("whisper"), "a secret is in: {text}");
}

#[test]
fn a_retention_below_an_hour_and_a_missing_key_are_rejected() {
    let mut variables = minimal_environment();
    variables.insert(RETENTION_AGE, "59m");
    assert!(read(&variables).err().unwrap().to_string().contains("TWINWAY_RETENTION_AGE must be at least 1h"));
    let mut variables = minimal_environment();
    variables.remove(AUTH_SECRET);
    assert!(read(&variables).err().unwrap().to_string().contains("no client could connect"));
}

#[test]
fn a_key_set_url_replaces_keys_and_must_be_secure() {
    let mut variables = minimal_environment();
    variables.remove(AUTH_SECRET);
    variables.insert(AUTH_JWKS_URL, "https://issuer.example/jwks.json");
    let text = read(&variables).err().unwrap().to_string();
    assert!(text.contains("TWINWAY_AUTH_AUDIENCE is required with TWINWAY_AUTH_JWKS_URL"), "{text}");
    variables.insert(AUTH_AUDIENCE, "*");
    assert!(read(&variables).ok().unwrap().1.tokens.audiences.is_empty());
    variables.insert(AUTH_AUDIENCE, "chat");
    let (_, auth) = read(&variables).ok().unwrap();
    assert_eq!(auth.jwks_url.unwrap(), "https://issuer.example/jwks.json");
    for invalid in ["http://issuer.example/jwks.json", "issuer.example", "/jwks.json"] {
        variables.insert(AUTH_JWKS_URL, invalid);
        let text = read(&variables).err().unwrap().to_string();
        assert!(text.contains(AUTH_JWKS_URL) && text.contains("https://"), "{invalid}: {text}");
    }
    variables.insert(AUTH_JWKS, "{}");
    assert!(read(&variables).err().unwrap().to_string().contains("exclude each other"));
}

#[test]
fn wrong_certificate_files_and_proxies_are_named() {
    let mut variables = minimal_environment();
    variables.extend([(AUTH_CA_FILE, file!()), ("HTTPS_PROXY", "socks5://user:hush@proxy")]);
    let text = read(&variables).err().unwrap().to_string();
    assert!(text.contains("TWINWAY_AUTH_CA_FILE cannot be used: the file"), "{text}");
    let variables = HashMap::from([(AUTH_SECRET, SECRET), ("https_proxy", "socks5://user:hush@proxy")]);
    let text = read(&variables).err().unwrap().to_string();
    assert!(text.contains("HTTPS_PROXY must be an address such as http://") && !text.contains("hush"), "{text}");
    let variables = HashMap::from([(AUTH_SECRET, SECRET), (AUTH_CLIENT_CERT_FILE, "/cert.pem")]);
    let text = read(&variables).err().unwrap().to_string();
    assert!(
        text.contains("TWINWAY_AUTH_CLIENT_CERT_FILE and TWINWAY_AUTH_CLIENT_KEY_FILE must be set together"),
        "{text}"
    );
}

#[test]
fn the_operators_page_has_every_variable() {
    let page = include_str!("../../../../docs/OPERATIONS.md");
    let names = [
        CONNECTIONS_TABLE,
        MESSAGES_TABLE,
        MANAGEMENT_ENDPOINT,
        RETENTION_AGE,
        AUTH_SECRET,
        AUTH_PREVIOUS_SECRETS,
        AUTH_JWKS,
        AUTH_JWKS_URL,
        AUTH_ISSUER,
        AUTH_AUDIENCE,
        AUTH_LEEWAY,
        AUTH_MAX_LIFETIME,
        AUTH_CA_FILE,
        AUTH_CLIENT_CERT_FILE,
        AUTH_CLIENT_KEY_FILE,
        AUTH_SERVER_NAME,
        AUTH_API_KEYS,
        AUTH_PRESENCE_NAMES,
    ];
    let claims = handlers::authorizer::ClaimMapping::KEYS.map(|key| key.env);
    for name in names.into_iter().chain(claims) {
        assert!(page.contains(&format!("| `{name}` |")), "the page has no row of {name}");
    }
}
