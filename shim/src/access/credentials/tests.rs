//! Requests signed by AWS's own signer, whole and tampered with; and the document of callers.

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

/// A request as a client would send it.
struct Sent {
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Sent {
    fn verify(&self, now: i64) -> Result<IamCaller, SignatureError> {
        let request =
            SignedRequest { method: "POST", path: &self.path, query: self.query.as_deref(), headers: &self.headers };
        let credentials = IamCredentials::parse(DOCUMENT).unwrap();
        credentials.verify(request, self.body, "us-east-1", now).map(|caller| caller.identity.clone())
    }
}

/// Signs a post with `keys`, in headers or in the query.
fn signed(keys: Keys, place: SignatureLocation, query: &str, body: &'static [u8]) -> Sent {
    let mut settings = SigningSettings::default();
    settings.signature_location = place;
    settings.expires_in = (place == SignatureLocation::QueryParams).then(|| Duration::from_secs(60));
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
    Sent { path: parts.uri.path().to_owned(), query, headers: parts.headers, body }
}

fn alice() -> Keys {
    Keys::new("AKIDALICE", "secret/of+alice", None, None, "tests")
}

fn role(token: Option<&str>) -> Keys {
    Keys::new("ASIDROLE", "secret-of-role", token.map(str::to_owned), None, "tests")
}

const PLACES: [SignatureLocation; 2] = [SignatureLocation::Headers, SignatureLocation::QueryParams];

#[test]
fn sg_1_what_the_signer_of_aws_signs_holds() {
    for place in PLACES {
        for (query, body) in [("", &b""[..]), ("?b=%20%2F&a=1&a=0", b"hello"), ("", &[0xff; 70_000])] {
            let caller = signed(alice(), place, query, body).verify(NOW).unwrap();
            assert_eq!((&*caller.access_key, &*caller.caller), ("AKIDALICE", "AIDAALICE"));
            assert_eq!(
                (&*caller.account_id, &*caller.user_arn),
                ("123456789012", "arn:aws:iam::123456789012:user/alice")
            );
        }
        let caller = signed(role(Some("token/+=")), place, "", b"").verify(NOW).unwrap();
        assert_eq!((&*caller.caller, &*caller.user), ("ASIDROLE", "ASIDROLE"));
    }
}

#[test]
fn sg_1_whatever_was_changed_is_noticed() {
    for place in PLACES {
        let sent = || signed(alice(), place, "?a=1", b"hello");
        let wrong = |sent: Sent| assert_eq!(sent.verify(NOW), Err(SignatureError::Mismatch));
        wrong(Sent { body: b"hellp", ..sent() });
        wrong(Sent { path: PATH.replace("prod", "test"), ..sent() });
        wrong(Sent { query: Some(sent().query.unwrap().replace("a=1", "a=2")), ..sent() });
        let mut other_host = sent();
        other_host.headers.insert("host", HeaderValue::from_static("127.0.0.1:8081"));
        wrong(other_host);
        wrong(signed(Keys::new("AKIDALICE", "another", None, None, "tests"), place, "", b""));
    }
}

#[test]
fn sg_1_keys_and_tokens_of_nobody_are_unknown() {
    for place in PLACES {
        let keys = [
            Keys::new("AKIDNOBODY", "secret", None, None, "tests"),
            Keys::new("AKIDALICE", "secret/of+alice", Some("a token too many".to_owned()), None, "tests"),
            role(None),
            role(Some("token/+")),
        ];
        for keys in keys {
            assert_eq!(signed(keys, place, "", b"").verify(NOW), Err(SignatureError::UnknownKey));
        }
    }
}

#[test]
fn sg_1_a_signature_is_good_for_its_time_only() {
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
fn sg_3_what_a_client_says_about_its_payload_counts_for_nothing() {
    let mut sent = signed(alice(), SignatureLocation::Headers, "", b"hello");
    let name = HeaderName::from_static("x-amz-content-sha256");
    sent.headers.insert(name, HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    assert!(sent.verify(NOW).is_ok(), "the header is not among those that were signed");
    sent.body = b"other";
    assert_eq!(sent.verify(NOW), Err(SignatureError::Mismatch));
}

#[test]
fn documents_are_checked_and_never_shown() {
    let one = |change: (&str, &str)| IamCredentials::parse(&DOCUMENT.replace(change.0, change.1));
    assert_eq!(format!("{:?}", one(("", "")).unwrap()), "Credentials(2)");
    for (from, to, rule) in [
        ("AKIDALICE", "", "entry 1: AccessKeyId"),
        ("ASIDROLE", "AKIDALICE", "entry 2: has the AccessKeyId of another"),
        ("secret-of-role", "", "entry 2: SecretAccessKey"),
        ("arn:aws:iam::123456789012", "arn:aws:iam::12", "entry 1: Arn"),
        ("\"Effect\": \"Allow\", ", "", "entry 1: PolicyDocument"),
        ("\"UserId\"", "\"Userid\"", "must be a JSON array"),
        ("[", "{", "must be a JSON array"),
    ] {
        let mistake = one((from, to)).unwrap_err();
        assert!(mistake.starts_with(rule) && !mistake.contains("secret"), "{mistake}");
    }
}
