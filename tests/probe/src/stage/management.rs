//! Client of `@connections` with the function's credentials (Signature Version 4, service `execute-api`).
//!
//! It does not use the SDK, because the unmodified response is recorded, methods that the SDK does not support are
//! called, and calls must not be retried. Each call uses a new connection, because pooled ones are closed while Lambda
//! freezes the process, and ends within [`MANAGEMENT_CALL_TIMEOUT`].

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::event::Event;
use crate::probe::{ManagementCall, ManagementResponse};

/// Timeout of a call.
const MANAGEMENT_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum bytes of a response; those of `@connections` have a few hundred.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// All characters except the unreserved ones of RFC 3986. Ids contain `=`, which must be escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Client of `@connections`.
pub(super) struct ManagementClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    credentials: SharedCredentialsProvider,
    region: String,
    endpoint: Option<String>,
}

impl ManagementClient {
    /// Creates a client whose calls are signed for `region`. They go to `endpoint`, which includes the stage, or to the
    /// stage of the event.
    pub(super) fn new(credentials: SharedCredentialsProvider, region: String, endpoint: Option<String>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Self { client, credentials, region, endpoint }
    }

    pub(super) async fn call(
        &self,
        event: &Event,
        call: ManagementCall<'_>,
        now: SystemTime,
    ) -> anyhow::Result<ManagementResponse> {
        let request = self.sign_request(&self.uri(event, call.connection)?, call, now).await?;
        tokio::time::timeout(MANAGEMENT_CALL_TIMEOUT, self.exchange(request))
            .await
            .context("@connections call timed out")?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<ManagementResponse> {
        let response = self.client.request(request).await.context("@connections request failed")?;
        let status = response.status().as_u16();
        let error_type = response.headers().get("x-amzn-errortype");
        let error_type = error_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("incomplete @connections response: {error}"))?.to_bytes();
        Ok(ManagementResponse { status, error_type, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn uri(&self, event: &Event, connection: &str) -> anyhow::Result<Uri> {
        let stage = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}/{}", event.context("domainName"), event.context("stage")),
        };
        let uri = format!("{stage}/@connections/{}", utf8_percent_encode(connection, ESCAPED));
        uri.parse().context("the event has no valid @connections endpoint")
    }

    async fn sign_request(
        &self,
        uri: &Uri,
        call: ManagementCall<'_>,
        now: SystemTime,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let identity = self.credentials.provide_credentials().await.context("no credentials")?.into();
        let params = v4::SigningParams::builder().identity(&identity).region(&self.region).name("execute-api");
        let params = params.time(now).settings(SigningSettings::default()).build()?.into();
        let host = uri.authority().context("the @connections endpoint has no host")?.as_str();
        let body = SignableBody::Bytes(call.body.as_bytes());
        let signable = SignableRequest::new(call.method, uri.to_string(), [("host", host)].into_iter(), body)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let request = Request::builder().method(call.method).uri(uri);
        let mut request = request.body(Full::from(call.body.to_owned()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}
