//! Tests of requests signed by AWS's own signer, unchanged and modified, and of the document of callers.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::*;

const DOCUMENT: &str = r#"[
    {"AccessKeyId": "AKIDALICE", "SecretAccessKey": "secret/of+alice", "UserId": "AIDAALICE",
     "Arn": "arn:aws:iam::123456789012:user/alice",
     "PolicyDocument": {"Statement": {"Effect": "Allow", "Action": "execute-api:*", "Resource": "*"}}},
    {"AccessKeyId": "ASIDROLE", "SecretAccessKey": "secret-of-role", "SessionToken": "token/+=",
     "Arn": "arn:aws:sts::123456789012:assumed-role/role/session",
     "PolicyDocument": {"Statement": []}}]"#;
const NOW: i64 = 1_795_255_200_000;
const PATH: &str = "/prod/@connections/e_d2EewNLPECIGw%3D";

/// A request as a client sends it.
struct SentRequest {
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: &'static [u8],
}

impl SentRequest {
    fn verify(&self, now: i64) -> Result<IamCaller, SignatureError> {
        let request =
            SignedRequest { method: "POST", path: &self.path, query: self.query.as_deref(), headers: &self.headers };
        let credentials = IamCredentials::parse(DOCUMENT).unwrap();
        credentials.verify(request, self.body, "us-east-1", now).map(|caller| caller.identity.clone())
    }
}

/// Signs a POST request with `keys`, in headers or in the query.
fn signed(keys: Keys, location: SignatureLocation, query: &str, body: &'static [u8]) -> SentRequest {
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    settings.expires_in = (location == SignatureLocation::QueryParams).then(|| Duration::from_secs(60));
    let identity = keys.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("execute-api")
        .time(UNIX_EPOCH + Duration::from_millis(u64::try_from(NOW).unwrap()))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://127.0.0.1:8080{PATH}{query}");
    let sent = [("host", "127.0.0.1:8080"), ("content-type", "application/octet-stream")];
    let signable = SignableRequest::new("POST", &uri, sent.into_iter(), SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign_request(signable, &params).unwrap().into_parts();
    let mut request = Request::builder().uri(&uri);
    for (name, value) in sent {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    instructions.apply_to_request_http1x(&mut request);
    let (parts, ()) = request.into_parts();
    let query = parts.uri.query().map(str::to_owned);
    SentRequest { path: parts.uri.path().to_owned(), query, headers: parts.headers, body }
}

fn alice() -> Keys {
    Keys::new("AKIDALICE", "secret/of+alice", None, None, "tests")
}

fn role(token: Option<&str>) -> Keys {
    Keys::new("ASIDROLE", "secret-of-role", token.map(str::to_owned), None, "tests")
}

const LOCATIONS: [SignatureLocation; 2] = [SignatureLocation::Headers, SignatureLocation::QueryParams];

#[test]
fn sg_1_signatures_of_the_aws_signer_are_valid() {
    for location in LOCATIONS {
        for (query, body) in [("", &b""[..]), ("?b=%20%2F&a=1&a=0", b"hello"), ("", &[0xff; 70_000])] {
            let caller = signed(alice(), location, query, body).verify(NOW).unwrap();
            assert_eq!((&*caller.access_key, &*caller.caller), ("AKIDALICE", "AIDAALICE"));
            assert_eq!(
                (&*caller.account_id, &*caller.user_arn),
                ("123456789012", "arn:aws:iam::123456789012:user/alice")
            );
        }
        let caller = signed(role(Some("token/+=")), location, "", b"").verify(NOW).unwrap();
        assert_eq!((&*caller.caller, &*caller.user), ("ASIDROLE", "ASIDROLE"));
    }
}

#[test]
fn sg_1_every_modification_is_detected() {
    for location in LOCATIONS {
        let sent = || signed(alice(), location, "?a=1", b"hello");
        let wrong = |sent: SentRequest| assert_eq!(sent.verify(NOW), Err(SignatureError::Mismatch));
        wrong(SentRequest { body: b"hellp", ..sent() });
        wrong(SentRequest { path: PATH.replace("prod", "test"), ..sent() });
        wrong(SentRequest { query: Some(sent().query.unwrap().replace("a=1", "a=2")), ..sent() });
        let mut other_host = sent();
        other_host.headers.insert("host", HeaderValue::from_static("127.0.0.1:8081"));
        wrong(other_host);
        wrong(signed(Keys::new("AKIDALICE", "another", None, None, "tests"), location, "", b""));
    }
}

#[test]
fn sg_1_unconfigured_keys_and_tokens_are_unknown() {
    for location in LOCATIONS {
        let keys = [
            Keys::new("AKIDUNKNOWN", "secret", None, None, "tests"),
            Keys::new("AKIDALICE", "secret/of+alice", Some("an additional token".to_owned()), None, "tests"),
            role(None),
            role(Some("token/+")),
        ];
        for keys in keys {
            assert_eq!(signed(keys, location, "", b"").verify(NOW), Err(SignatureError::UnknownKey));
        }
    }
}

#[test]
fn sg_1_a_signature_is_valid_for_a_limited_time() {
    let minutes = |minutes: i64| NOW + minutes * 60_000;
    let header = signed(alice(), SignatureLocation::Headers, "", b"");
    assert!(header.verify(minutes(5)).is_ok() && header.verify(minutes(-5)).is_ok());
    assert!(matches!(header.verify(minutes(6)), Err(SignatureError::Expired { .. })));
    assert!(matches!(header.verify(minutes(-6)), Err(SignatureError::NotYetValid { .. })));
    let query = signed(alice(), SignatureLocation::QueryParams, "", b"");
    assert!(query.verify(minutes(1)).is_ok());
    assert!(matches!(query.verify(minutes(2)), Err(SignatureError::Expired { .. })));
}

#[test]
fn sg_3_the_payload_hash_of_a_client_is_ignored() {
    let mut sent = signed(alice(), SignatureLocation::Headers, "", b"hello");
    let name = HeaderName::from_static("x-amz-content-sha256");
    sent.headers.insert(name, HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    assert!(sent.verify(NOW).is_ok(), "the header is not signed");
    sent.body = b"other";
    assert_eq!(sent.verify(NOW), Err(SignatureError::Mismatch));
}

#[test]
fn documents_are_validated_and_never_shown() {
    let parse_changed = |change: (&str, &str)| IamCredentials::parse(&DOCUMENT.replace(change.0, change.1));
    assert_eq!(format!("{:?}", parse_changed(("", "")).unwrap()), "IamCredentials(2)");
    for (from, to, rule) in [
        ("AKIDALICE", "", "entry 1: AccessKeyId"),
        ("ASIDROLE", "AKIDALICE", "entry 2: duplicates the AccessKeyId of an earlier entry"),
        ("secret-of-role", "", "entry 2: SecretAccessKey"),
        ("arn:aws:iam::123456789012", "arn:aws:iam::12", "entry 1: Arn"),
        ("\"Effect\": \"Allow\", ", "", "entry 1: PolicyDocument"),
        ("\"UserId\"", "\"Userid\"", "must be a JSON array"),
        ("[", "{", "must be a JSON array"),
    ] {
        let error = parse_changed((from, to)).unwrap_err();
        assert!(error.starts_with(rule) && !error.contains("secret"), "{error}");
    }
}
