//! Claims, canonical requests and policies. The `shim` package tests complete signatures with the AWS SDK's signer.

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::*;

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/execute-api/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=abcd";
/// 2026-11-21T10:00:00Z.
const NOW: i64 = 1_795_255_200_000;

fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
    let entries = entries.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    entries.collect()
}

fn signed() -> HeaderMap {
    headers(&[("authorization", AUTHORIZATION), ("x-amz-date", "20261121T100000Z"), ("host", " a  b:80 ")])
}

fn read(query: Option<&str>, headers: &HeaderMap) -> Result<SignatureClaim, SignatureError> {
    SignatureClaim::from_request(SignedRequest { method: "POST", path: "/prod", query, headers })
}

#[test]
fn sg_1_a_claim_is_read_from_header_and_query() {
    let claim = read(None, &signed()).ok().unwrap();
    assert_eq!((&*claim.access_key, &*claim.day, &*claim.region), ("AKID", "20261121", "us-east-1"));
    assert_eq!((&*claim.signature, claim.session_token.as_deref()), ("abcd", None));
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20261121%2Fus-east-1%2Fexecute-api%2Faws4_request\
                 &X-Amz-Date=20261121T100000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=a%2Bb\
                 &X-Amz-Signature=abcd";
    let claim = read(Some(query), &HeaderMap::new()).ok().unwrap();
    assert_eq!((&*claim.access_key, claim.session_token.as_deref()), ("AKID", Some("a+b")));
    assert_eq!(claim.check_time(NOW + 60_000), Ok(()));
    assert!(matches!(claim.check_time(NOW + 60_001), Err(SignatureError::Expired { .. })));
}

#[test]
fn sg_1_an_incomplete_signature_differs_from_a_missing_one() {
    let error = |headers: &HeaderMap, query| read(query, headers).err().unwrap();
    assert_eq!(error(&HeaderMap::new(), Some("a=b")), SignatureError::Missing);
    let bearer = error(&headers(&[("authorization", "Bearer x")]), None);
    assert_eq!(bearer.error_type(), "IncompleteSignatureException");
    assert_eq!(
        bearer.message(),
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
         Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a \
         'X-Amz-Date' or a 'Date' header. "
    );
    let mut undated = signed();
    undated.remove("x-amz-date");
    assert!(error(&undated, None).message().starts_with("Authorization header requires existence"));
    for date in ["2026-11-21T10:00:00Z", "20261121T250000Z", "", "20261121T100000"] {
        let mut headers = signed();
        headers.insert("x-amz-date", HeaderValue::from_static(date));
        assert!(matches!(error(&headers, None), SignatureError::Incomplete { date: false, .. }), "{date}");
    }
    let whole = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A/20261121/r/s/aws4_request\
                 &X-Amz-Date=20261121T100000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=a&X-Amz-Expires=";
    assert!(read(Some(&format!("{whole}604800")), &HeaderMap::new()).is_ok());
    for expires in ["", "0", "-1", "604801", "x"] {
        assert!(read(Some(&format!("{whole}{expires}")), &HeaderMap::new()).is_err(), "{expires}");
    }
    // A signature that does not cover the host could be replayed to another one.
    assert!(read(Some(&format!("{whole}60").replace("=host", "=date")), &HeaderMap::new()).is_err());
}

#[test]
fn sg_1_scope_and_time_are_checked() {
    let claim = |from: &str, to: &str| {
        let mut headers = signed();
        headers.insert("authorization", HeaderValue::from_str(&AUTHORIZATION.replace(from, to)).unwrap());
        read(None, &headers).ok().unwrap()
    };
    assert_eq!(claim("", "").check_scope("us-east-1"), Ok(()));
    assert_eq!(claim("", "").check_scope("eu-west-1"), Err(SignatureError::WrongRegion));
    assert_eq!(claim("execute-api", "s3").check_scope("us-east-1"), Err(SignatureError::WrongService));
    assert_eq!(claim("20261121", "20261120").check_scope("us-east-1"), Err(SignatureError::WrongDay));
    let five_minutes = 5 * 60 * 1000;
    for now in [NOW, NOW - five_minutes, NOW + five_minutes] {
        assert_eq!(claim("", "").check_time(now), Ok(()));
    }
    assert_eq!(
        claim("", "").check_time(NOW + five_minutes + 1000).unwrap_err().message(),
        "Signature expired: 20261121T100000Z is now earlier than 20261121T100001Z (20261121T100501Z - 5 min.)"
    );
    assert_eq!(
        claim("", "").check_time(NOW - five_minutes - 1000).unwrap_err().message(),
        "Signature not yet current: 20261121T100000Z is still later than 20261121T095959Z (20261121T095459Z + 5 min.)"
    );
}

#[test]
fn sg_2_the_canonical_request_has_the_path_encoded_twice_and_the_query_in_order() {
    let headers = signed();
    let request = SignedRequest {
        method: "POST",
        path: "/production/@connections/e_d2EewNLPECIGw%3D",
        query: Some("b=2&a=%7e+&X-Amz-Signature=x&a&b=%31"),
        headers: &headers,
    };
    let claim = SignatureClaim::from_request(request).ok().unwrap();
    assert_eq!(
        claim.canonical_request(request, "00"),
        "POST\n/production/%40connections/e_d2EewNLPECIGw%253D\na=&a=~%2B&b=1&b=2\nhost:a b:80\n\
         x-amz-date:20261121T100000Z\n\nhost;x-amz-date\n00"
    );
    assert_eq!(
        claim.string_to_sign("11"),
        "AWS4-HMAC-SHA256\n20261121T100000Z\n20261121/us-east-1/execute-api/aws4_request\n11"
    );
}

#[test]
fn sg_1_a_policy_distinguishes_actions_and_resources() {
    let policy = IamPolicy::parse(json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "execute-api:ManageConnections",
        "Resource": "arn:aws:execute-api:us-east-1:123456789012:abc/prod/POST/@connections/*",
    }}))
    .unwrap();
    let api = crate::samples::websocket_api();
    assert!(policy.allows(IamAction::ManageConnections, &api.management_arn("POST", "x=")));
    assert!(!policy.allows(IamAction::ManageConnections, &api.management_arn("DELETE", "x=")));
    assert!(!policy.allows(IamAction::Invoke, &api.connect_arn()));
    assert!(IamPolicy::parse(json!({"Statement": [{"Action": "*", "Resource": "*"}]})).is_none());
    assert!(IamPolicy::parse(json!([])).is_none());
}
