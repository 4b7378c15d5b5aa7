//! What is read, what is refused, and that everything refused is told at once and without secrets.

use std::collections::HashMap;

use super::*;

const SECRET: &str = "the-secret-of-these-tests-is-long";

fn complete<'a>() -> HashMap<&'static str, &'a str> {
    HashMap::from([
        (CONNECTIONS_TABLE, "connections"),
        (MESSAGES_TABLE, "messages"),
        (MANAGEMENT_ENDPOINT, "https://abc.execute-api.eu-west-1.amazonaws.com/prod/"),
        (AUTH_SECRET, SECRET),
    ])
}

fn read(given: &HashMap<&'static str, &str>) -> Result<(AppConfig, VerifierConfig), EnvironmentError> {
    read_app_and_verifier_config(&|name| given.get(name).map(|text| (*text).to_owned()))
}

#[test]
fn the_least_is_enough() {
    let (stores, auth) = read(&complete()).ok().unwrap();
    assert_eq!(stores.management_endpoint, "https://abc.execute-api.eu-west-1.amazonaws.com/prod");
    assert_eq!(stores.retention, Duration::from_secs(30 * 86_400));
    assert_eq!(auth.tokens.keys.len(), 1);
    assert_eq!(auth.tokens.leeway, Duration::from_secs(30));
}

#[test]
fn limits_are_read_and_checked() {
    let mut given = complete();
    given.extend([("TWINWAY_LIMITS_BODY_BYTES", "4KiB"), ("TWINWAY_LIMITS_RESUME_TIME", "1m")]);
    let found = read(&given).err().unwrap().to_string();
    assert!(found.contains("TWINWAY_LIMITS_RESUME_TIME must be a duration from 1ms to 15s"), "{found}");
    given.insert("TWINWAY_LIMITS_RESUME_TIME", "1s500ms");
    let limits = read(&given).ok().unwrap().0.limits;
    assert_eq!((limits.body_bytes, limits.resume_time), (4_096, Duration::from_millis(1_500)));
    assert_eq!(limits.push_messages, Limits::default().push_messages);
}

#[test]
fn everything_is_read() {
    let mut given = complete();
    given.extend([
        (RETENTION_AGE, "12h"),
        (AUTH_PREVIOUS_SECRETS, "an-earlier-secret-of-these-tests-1,an-earlier-secret-of-these-tests-2"),
        (AUTH_ISSUER, "https://issuer.example"),
        (AUTH_AUDIENCE, "chat"),
        (AUTH_LEEWAY, "5s"),
        (AUTH_API_KEYS, "billing:acme:key-of-20-characters"),
    ]);
    let (stores, auth) = read(&given).ok().unwrap();
    assert_eq!(stores.retention, Duration::from_secs(12 * 3_600));
    assert_eq!(auth.tokens.keys.len(), 3);
    assert_eq!(auth.tokens.issuer.as_deref(), Some("https://issuer.example"));
    assert_eq!(auth.tokens.audience.as_deref(), Some("chat"));
    assert_eq!(auth.tokens.leeway, Duration::from_secs(5));
    assert_eq!(format!("{:?}", auth.api_keys), "[\"billing\"]");
}

#[test]
fn secrets_may_stand_elsewhere() {
    const SIGNING: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:signing-AbCdEf";
    const BEFORE: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:before-AbCdEf";
    let both = format!("{SIGNING}, {BEFORE}");
    let mut given = complete();
    given.remove(AUTH_SECRET);
    given.extend([(AUTH_SECRET_ARN, both.as_str()), (AUTH_API_KEYS_ARN, BEFORE)]);
    let (_, auth) = read(&given).ok().unwrap();
    assert_eq!(auth.secret_arns, [SIGNING, BEFORE]);
    assert_eq!(auth.api_keys_arn.as_deref(), Some(BEFORE));
    assert!(auth.tokens.keys.is_empty());
    for (name, value) in [
        (AUTH_SECRET_ARN, "twinway/signing"),
        (AUTH_SECRET_ARN, "arn:aws:s3:::bucket"),
        (AUTH_API_KEYS_ARN, both.as_str()),
        (AUTH_API_KEYS, "billing:acme:key-of-20-characters"),
    ] {
        let mut wrong = given.clone();
        wrong.insert(name, value);
        assert!(read(&wrong).err().unwrap().to_string().contains("1 mistake"), "{name}={value}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_no_secret_is() {
    let given = HashMap::from([
        (MANAGEMENT_ENDPOINT, "abc.execute-api"),
        (RETENTION_AGE, "5"),
        (AUTH_SECRET, "hush"),
        (AUTH_JWKS, "{}"),
        (AUTH_API_KEYS, "billing:acme:whisper"),
    ]);
    let text = read(&given).err().unwrap().to_string();
    for name in
        [CONNECTIONS_TABLE, MESSAGES_TABLE, MANAGEMENT_ENDPOINT, RETENTION_AGE, AUTH_SECRET, AUTH_JWKS, AUTH_API_KEYS]
    {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    assert!(!text.contains("hush") && !text.contains("whisper"), "a secret is in: {text}");
}

#[test]
fn a_retention_below_an_hour_and_no_key_at_all_are_refused() {
    let mut given = complete();
    given.insert(RETENTION_AGE, "59m");
    assert!(read(&given).err().unwrap().to_string().contains("must be 1h or more"));
    let mut given = complete();
    given.remove(AUTH_SECRET);
    assert!(read(&given).err().unwrap().to_string().contains("nobody could connect"));
}

#[test]
fn a_key_sets_address_stands_for_keys_and_has_to_be_safe() {
    let mut given = complete();
    given.remove(AUTH_SECRET);
    given.insert(AUTH_JWKS_URL, "https://issuer.example/jwks.json");
    let (_, auth) = read(&given).ok().unwrap();
    assert_eq!(auth.jwks_url.unwrap(), "https://issuer.example/jwks.json");
    for wrong in ["http://issuer.example/jwks.json", "issuer.example", "/jwks.json"] {
        given.insert(AUTH_JWKS_URL, wrong);
        let text = read(&given).err().unwrap().to_string();
        assert!(text.contains(AUTH_JWKS_URL) && text.contains("https://"), "{wrong}: {text}");
    }
    given.insert(AUTH_JWKS, "{}");
    assert!(read(&given).err().unwrap().to_string().contains("exclude each other"));
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
        AUTH_API_KEYS,
    ];
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "the page has no row of {name}");
    }
}
