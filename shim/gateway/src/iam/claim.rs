//! Signature of a request, parsed from its `Authorization` header or its query.
//!
//! A [`SignatureClaim`] is complete: all parts are present and well-formed.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use percent_encoding::percent_decode_str;

use super::error::SignatureError;
use super::{SCOPE_TERMINATOR, SIGNING_ALGORITHM, SIGNING_SERVICE, SignedRequest};

/// Maximum clock skew between caller and server: 5 minutes (IAM user guide, `reference_sigv-troubleshooting`).
pub(super) const MAX_CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// Maximum validity of a signature in a query: 7 days (IAM user guide, `X-Amz-Expires`).
const MAX_PRESIGNED_SECONDS: i64 = 7 * 24 * 60 * 60;

/// A signature with its parameters. Has no `Debug`, so that signatures and tokens are never logged.
pub struct SignatureClaim {
    /// Access key id.
    pub access_key: String,
    /// `YYYYMMDD` of the credential scope, from which the signing key is derived.
    pub day: String,
    /// Region of the credential scope.
    pub region: String,
    /// Signature as sent; a valid one has 64 hexadecimal digits.
    pub signature: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
    service: String,
    pub(super) date: String,
    pub(super) signed_headers: Vec<String>,
    signed_at: i64,
    lifetime_ms: i64,
}

/// Parts of a signature, from the header or the query; `None` if missing.
#[derive(Default)]
struct SignatureParts<'r> {
    credential: Option<Cow<'r, str>>,
    signed_headers: Option<Cow<'r, str>>,
    signature: Option<Cow<'r, str>>,
    date: Option<Cow<'r, str>>,
    session_token: Option<Cow<'r, str>>,
    lifetime_ms: Option<i64>,
}

impl SignatureClaim {
    /// Parses the signature of a request; the header takes precedence over the query.
    ///
    /// # Errors
    /// [`SignatureError::Missing`] for a request without a signature, [`SignatureError::Incomplete`] for a missing or
    /// malformed part.
    pub fn from_request(request: SignedRequest<'_>) -> Result<Self, SignatureError> {
        let query = DecodedQuery::parse(request.query);
        let parts = match request.headers.get(AUTHORIZATION) {
            Some(value) => from_header(value.to_str().unwrap_or_default(), request.headers),
            None if query.contains_key("X-Amz-Algorithm") => from_query(query),
            None => return Err(SignatureError::Missing),
        };
        parts.into_claim()
    }

    /// Checks that the credential scope has this API's region, the service `execute-api` and the day of the request's
    /// date.
    ///
    /// # Errors
    /// [`SignatureError::WrongRegion`], [`SignatureError::WrongService`] or [`SignatureError::WrongDay`].
    pub fn check_scope(&self, region: &str) -> Result<(), SignatureError> {
        match () {
            () if self.region != region => Err(SignatureError::WrongRegion),
            () if self.service != SIGNING_SERVICE => Err(SignatureError::WrongService),
            () if !self.date.starts_with(&self.day) => Err(SignatureError::WrongDay),
            () => Ok(()),
        }
    }

    /// Checks that the signature is valid at `now`, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SignatureError::Expired`] or [`SignatureError::NotYetValid`].
    pub fn check_time(&self, now: i64) -> Result<(), SignatureError> {
        let until = self.signed_at.saturating_add(self.lifetime_ms);
        match () {
            () if self.signed_at.saturating_sub(MAX_CLOCK_SKEW_MS) > now => {
                Err(SignatureError::NotYetValid { from: self.signed_at, now })
            }
            () if until < now => Err(SignatureError::Expired { until: until.saturating_sub(MAX_CLOCK_SKEW_MS), now }),
            () => Ok(()),
        }
    }

    /// Returns the credential scope: `YYYYMMDD/region/execute-api/aws4_request`.
    pub(super) fn credential_scope(&self) -> String {
        [&*self.day, &*self.region, &*self.service, SCOPE_TERMINATOR].join("/")
    }
}

impl SignatureParts<'_> {
    fn into_claim(self) -> Result<SignatureClaim, SignatureError> {
        let scope = self.credential.as_deref().and_then(parse_credential);
        let signed_headers: Vec<_> =
            self.signed_headers.unwrap_or_default().split(';').map(str::to_ascii_lowercase).collect();
        let covers_host = signed_headers.iter().any(|name| name == "host");
        let parsed_date = self.date.as_deref().and_then(parse_amz_date);
        let (Some([access_key, day, region, service]), Some(signature), true, Some(signed_at), Some(lifetime_ms)) =
            (&scope, &self.signature, covers_host, parsed_date, self.lifetime_ms)
        else {
            return Err(SignatureError::Incomplete {
                credential: scope.is_some(),
                signature: self.signature.is_some(),
                signed_headers: covers_host,
                date: parsed_date.is_some() && self.lifetime_ms.is_some(),
            });
        };
        Ok(SignatureClaim {
            access_key: access_key.clone(),
            day: day.clone(),
            region: region.clone(),
            service: service.clone(),
            signature: signature.to_string(),
            session_token: self.session_token.map(Cow::into_owned),
            date: self.date.unwrap_or_default().into_owned(),
            signed_headers,
            signed_at,
            lifetime_ms,
        })
    }
}

/// Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`; date and session token have their own headers.
fn from_header<'r>(value: &'r str, headers: &'r HeaderMap) -> SignatureParts<'r> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(Cow::Borrowed);
    let mut parts = SignatureParts {
        date: header("x-amz-date"),
        session_token: header("x-amz-security-token"),
        lifetime_ms: Some(MAX_CLOCK_SKEW_MS),
        ..SignatureParts::default()
    };
    let Some(members) = value.strip_prefix(SIGNING_ALGORITHM) else { return parts };
    for (name, value) in members.split(',').filter_map(|member| member.trim().split_once('=')) {
        match name {
            "Credential" => parts.credential = Some(value.into()),
            "SignedHeaders" => parts.signed_headers = Some(value.into()),
            "Signature" => parts.signature = Some(value.into()),
            _ => {}
        }
    }
    parts
}

/// Parses `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=…`, the query of a presigned URL, which browsers use.
fn from_query(mut query: HashMap<Cow<'_, str>, Cow<'_, str>>) -> SignatureParts<'static> {
    let mut take = |name: &str| query.remove(name).map(|value| Cow::Owned(value.into_owned()));
    if take("X-Amz-Algorithm").as_deref() != Some(SIGNING_ALGORITHM) {
        return SignatureParts::default();
    }
    let seconds = take("X-Amz-Expires").and_then(|text: Cow<'_, str>| text.parse::<i64>().ok());
    SignatureParts {
        credential: take("X-Amz-Credential"),
        signed_headers: take("X-Amz-SignedHeaders"),
        signature: take("X-Amz-Signature"),
        date: take("X-Amz-Date"),
        session_token: take("X-Amz-Security-Token"),
        lifetime_ms: seconds
            .filter(|seconds| (1..=MAX_PRESIGNED_SECONDS).contains(seconds))
            .map(|seconds| seconds * 1000),
    }
}

/// Parser of a query into its decoded parameters.
struct DecodedQuery;

impl DecodedQuery {
    fn parse(query: Option<&str>) -> HashMap<Cow<'_, str>, Cow<'_, str>> {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy();
        let pairs = query.unwrap_or_default().split('&');
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }
}

/// Returns access key, day, region and service of `key/day/region/service/aws4_request`.
fn parse_credential(credential: &str) -> Option<[String; 4]> {
    let parts: Vec<_> = credential.split('/').collect();
    match parts[..] {
        [key, day, region, service, SCOPE_TERMINATOR] if !key.is_empty() => {
            Some([key, day, region, service].map(str::to_owned))
        }
        _ => None,
    }
}

/// Parses `YYYYMMDDTHHMMSSZ` into milliseconds since 1970.
fn parse_amz_date(text: &str) -> Option<i64> {
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok().filter(|_| text.len() == 16)?;
    Some(Offset::UTC.to_timestamp(at).ok()?.as_millisecond())
}
