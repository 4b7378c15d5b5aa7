//! Calls of `@connections` with the function's own credentials (Signature Version 4, service `execute-api`).
//!
//! Not through the SDK: what is recorded is the answer as it came, the methods that no SDK has are called too, and nothing
//! is tried twice. Invariant: a call is made on a connection of its own, because one that a frozen process kept would be
//! closed when it is thawed, and has its end within [`MANAGEMENT_CALL_TIMEOUT`].

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

/// How long a call may take.
const MANAGEMENT_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer; those of `@connections` have a few hundred.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// All but what RFC 3986 leaves unreserved: an id ends in `=`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The way to the clients of an API.
pub(super) struct ManagementClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    credentials: SharedCredentialsProvider,
    region: String,
    endpoint: Option<String>,
}

impl ManagementClient {
    /// Calls signed for `region`; to `endpoint`, stage included, or else to the stage that the event came from.
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
        tokio::time::timeout(MANAGEMENT_CALL_TIMEOUT, self.exchange(request)).await.context("no answer in time")?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<ManagementResponse> {
        let response = self.client.request(request).await.context("no answer")?;
        let status = response.status().as_u16();
        let error_type = response.headers().get("x-amzn-errortype");
        let error_type = error_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("half an answer: {error}"))?.to_bytes();
        Ok(ManagementResponse { status, error_type, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn uri(&self, event: &Event, connection: &str) -> anyhow::Result<Uri> {
        let stage = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}/{}", event.context("domainName"), event.context("stage")),
        };
        let uri = format!("{stage}/@connections/{}", utf8_percent_encode(connection, ESCAPED));
        uri.parse().context("the event names no place")
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
        let host = uri.authority().context("the event names no host")?.as_str();
        let body = SignableBody::Bytes(call.body.as_bytes());
        let signable = SignableRequest::new(call.method, uri.to_string(), [("host", host)].into_iter(), body)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let request = Request::builder().method(call.method).uri(uri);
        let mut request = request.body(Full::from(call.body.to_owned()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}
