//! Signatures as AWS's own signer makes them, for handshakes and for calls of `@connections`.
//!
//! Invariant: a signer signs what will be sent and nothing else; who is to be refused signs with another secret.

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

/// Somebody with an access key.
#[derive(Debug, Clone, Copy)]
pub struct TestSigner {
    /// The access key id.
    pub access_key: &'static str,
    /// The secret access key.
    pub secret: &'static str,
}

impl TestSigner {
    /// The ARN by which events and refusals name this caller.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::123456789012:user/{}", self.access_key)
    }

    /// The callers document of this one caller, who may do `action` to `resource`.
    ///
    /// # Errors
    /// The gateway does not take the document.
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

    /// The handshake of `place`, signed in its headers.
    ///
    /// # Errors
    /// The signer refuses.
    pub fn dial(&self, place: &EndpointAddress) -> anyhow::Result<HandshakeBuilder> {
        let instructions = self.sign(place, SignatureLocation::Headers, "GET", &place.path(), b"")?;
        let (headers, _) = instructions.into_parts();
        Ok(headers.iter().fold(HandshakeBuilder::new(), |dial, header| dial.header(header.name(), header.value())))
    }

    /// The handshake of `place`, signed in its query, as browsers have to.
    ///
    /// # Errors
    /// The signer refuses.
    pub fn presigned(&self, place: &EndpointAddress) -> anyhow::Result<HandshakeBuilder> {
        let instructions = self.sign(place, SignatureLocation::QueryParams, "GET", &place.path(), b"")?;
        let parts = instructions.params().iter().map(|(name, value): &(_, Cow<'_, str>)| (*name, escape(value)));
        Ok(parts.fold(HandshakeBuilder::new(), |dial, (name, value)| dial.query(&format!("{name}={value}"))))
    }

    /// The same call, signed.
    ///
    /// # Errors
    /// The signer refuses.
    pub fn call(&self, place: &EndpointAddress, call: ManagementRequest) -> anyhow::Result<ManagementRequest> {
        self.caller().call(place, call)
    }

    fn sign(
        &self,
        place: &EndpointAddress,
        location: SignatureLocation,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<SigningInstructions> {
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        settings.expires_in = (location == SignatureLocation::QueryParams).then_some(Duration::from_secs(60));
        instructions(&self.caller(), place, settings, (method, path, body))
    }

    fn caller(&self) -> ManagementCaller {
        let keys = Keys::new(self.access_key, self.secret, None, None, "conformance");
        ManagementCaller { keys, region: "us-east-1".to_owned() }
    }
}

/// Whoever runs the suite, with keys that an endpoint knows. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct ManagementCaller {
    keys: Keys,
    region: String,
}

impl ManagementCaller {
    /// A caller with these keys. A region is part of a signature: it is that of `place` on AWS, else `us-east-1`.
    #[must_use]
    pub fn new(keys: Keys, place: &EndpointAddress) -> Self {
        let parts: Vec<_> = place.host().split('.').collect();
        let region = parts.iter().skip_while(|part| **part != "execute-api").nth(1);
        Self { keys, region: region.map_or("us-east-1", |region| *region).to_owned() }
    }

    /// The same call, signed.
    ///
    /// # Errors
    /// The signer refuses.
    pub fn call(&self, place: &EndpointAddress, call: ManagementRequest) -> anyhow::Result<ManagementRequest> {
        let request = (&*call.method, &*call.path, &*call.body);
        let (headers, _) = instructions(self, place, SigningSettings::default(), request)?.into_parts();
        Ok(headers.iter().fold(call, |call, header| call.header(header.name(), header.value())))
    }
}

fn instructions(
    caller: &ManagementCaller,
    place: &EndpointAddress,
    settings: SigningSettings,
    (method, path, body): (&str, &str, &[u8]),
) -> anyhow::Result<SigningInstructions> {
    let identity = caller.keys.clone().into();
    let params = v4::SigningParams::builder().identity(&identity).region(&caller.region).name("execute-api");
    let params = params.time(now()?).settings(settings).build()?.into();
    let uri = format!("http://{}{path}", place.authority);
    let headers = [("host", place.authority.as_str())];
    let request = SignableRequest::new(method, uri, headers.into_iter(), SignableBody::Bytes(body))?;
    Ok(sign(request, &params)?.into_parts().0)
}

fn now() -> anyhow::Result<SystemTime> {
    let milliseconds = u64::try_from(system_clock::current_time().0).context("a time before 1970")?;
    Ok(UNIX_EPOCH + Duration::from_millis(milliseconds))
}
