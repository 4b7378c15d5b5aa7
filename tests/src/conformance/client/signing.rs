//! SigV4 signatures by AWS's own signer, for handshakes and for `@connections` calls.
//!
//! A signer signs exactly the request that is sent; cases that need a wrong signature use another secret.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use serde_json::{Value, json};
use shim::access::IamCredentials;

use super::dial::escape;
use super::{HandshakeBuilder, ManagementRequest};
use crate::conformance::wire::endpoint_address::EndpointAddress;

/// IAM user with an access key.
#[derive(Debug, Clone, Copy)]
pub struct TestSigner {
    /// Access key id.
    pub access_key: &'static str,
    /// Secret access key.
    pub secret: &'static str,
}

impl TestSigner {
    /// Returns the ARN that identifies this caller in events and errors.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::123456789012:user/{}", self.access_key)
    }

    /// Returns the credentials document with this caller only, who is allowed `action` on `resource`.
    ///
    /// # Errors
    /// The gateway rejects the document.
    pub fn allow_action(&self, action: &str, resource: &str) -> anyhow::Result<IamCredentials> {
        let document = Value::Array(vec![self.entry(action, resource)]).to_string();
        IamCredentials::parse(&document).map_err(anyhow::Error::msg)
    }

    fn entry(&self, action: &str, resource: &str) -> Value {
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": resource});
        json!({
            "AccessKeyId": self.access_key, "SecretAccessKey": self.secret, "Arn": self.arn(), "UserId": "AIDAEXAMPLE",
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        })
    }

    /// Returns the handshake for `endpoint`, signed in its headers.
    ///
    /// # Errors
    /// The signer fails.
    pub fn dial(&self, endpoint: &EndpointAddress) -> anyhow::Result<HandshakeBuilder> {
        let instructions = self.sign(endpoint, SignatureLocation::Headers, "GET", &endpoint.path(), b"")?;
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().fold(HandshakeBuilder::new(), |dial, header| dial.header(header.name(), header.value())))
    }

    /// Returns the handshake for `endpoint`, signed in its query, as browsers must do.
    ///
    /// # Errors
    /// The signer fails.
    pub fn presigned(&self, endpoint: &EndpointAddress) -> anyhow::Result<HandshakeBuilder> {
        let instructions = self.sign(endpoint, SignatureLocation::QueryParams, "GET", &endpoint.path(), b"")?;
        let parts = instructions.params().iter().map(|(name, value): &(_, Cow<'_, str>)| (*name, escape(value)));
        Ok(parts.fold(HandshakeBuilder::new(), |dial, (name, value)| dial.query(&format!("{name}={value}"))))
    }

    /// Signs a request.
    ///
    /// # Errors
    /// The signer fails.
    pub fn call(&self, endpoint: &EndpointAddress, call: ManagementRequest) -> anyhow::Result<ManagementRequest> {
        self.caller().call(endpoint, call)
    }

    fn sign(
        &self,
        endpoint: &EndpointAddress,
        location: SignatureLocation,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<SigningInstructions> {
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        settings.expires_in = (location == SignatureLocation::QueryParams).then_some(Duration::from_secs(60));
        instructions(&self.caller(), endpoint, settings, (method, path, body))
    }

    fn caller(&self) -> ManagementCaller {
        let keys = Keys::new(self.access_key, self.secret, None, None, "conformance");
        ManagementCaller { keys, region: "us-east-1".to_owned() }
    }
}

/// Caller of `@connections` with credentials that an endpoint accepts. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct ManagementCaller {
    keys: Keys,
    region: String,
}

impl ManagementCaller {
    /// Returns a caller with these credentials. The region of the signature is that of `endpoint` on AWS, else
    /// `us-east-1`.
    #[must_use]
    pub fn new(keys: Keys, endpoint: &EndpointAddress) -> Self {
        let parts: Vec<_> = endpoint.host().split('.').collect();
        let region = parts.iter().skip_while(|part| **part != "execute-api").nth(1);
        Self { keys, region: region.map_or("us-east-1", |region| *region).to_owned() }
    }

    /// Signs a request.
    ///
    /// # Errors
    /// The signer fails.
    pub fn call(&self, endpoint: &EndpointAddress, call: ManagementRequest) -> anyhow::Result<ManagementRequest> {
        let request = (&*call.method, &*call.path, &*call.body);
        let (headers, _) = instructions(self, endpoint, SigningSettings::default(), request)?.into_parts();
        Ok(headers.iter().fold(call, |call, header| call.header(header.name(), header.value())))
    }
}

fn instructions(
    caller: &ManagementCaller,
    endpoint: &EndpointAddress,
    settings: SigningSettings,
    (method, path, body): (&str, &str, &[u8]),
) -> anyhow::Result<SigningInstructions> {
    let identity = caller.keys.clone().into();
    let params = v4::SigningParams::builder().identity(&identity).region(&caller.region).name("execute-api");
    let params = params.time(now()?).settings(settings).build()?.into();
    let uri = format!("http://{}{path}", endpoint.authority);
    let headers = [("host", endpoint.authority.as_str())];
    let request = SignableRequest::new(method, uri, headers.into_iter(), SignableBody::Bytes(body))?;
    Ok(sign(request, &params)?.into_parts().0)
}

fn now() -> anyhow::Result<SystemTime> {
    let milliseconds = u64::try_from(system_clock::current_time().0).context("a time before 1970")?;
    Ok(UNIX_EPOCH + Duration::from_millis(milliseconds))
}
