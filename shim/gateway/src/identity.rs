//! Identity of a connection's client in events. `Debug` shows neither address nor key.

use std::fmt;

use aws_lambda_events::apigw::ApiGatewayRequestIdentity;
use serde::{Deserialize, Serialize};

/// `requestContext.identity` (IDN-1 to IDN-4), in the key order of captures; the position of [`IamCaller`]'s keys is
/// unknown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestIdentity {
    /// Signing caller, for an API with IAM authorization.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub iam: Option<Box<IamCaller>>,
    /// API key of the handshake, for an API that requires one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Box<ApiKey>>,
    /// `User-Agent` of the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Box<str>>,
    /// Client address.
    pub source_ip: Box<str>,
}

/// A valid API key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key as the client sent it.
    #[serde(rename = "apiKey")]
    pub key: Box<str>,
    /// Name of the key, which is not secret.
    #[serde(rename = "apiKeyId")]
    pub id: Box<str>,
}

/// The caller of a signed request (IDN-4), under the names of the `$context.identity` variables (developer guide,
/// `api-gateway-mapping-template-reference`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IamCaller {
    /// Account of the caller.
    pub account_id: Box<str>,
    /// Unique id of the principal, for example `AIDACKCEVSQ6C2EXAMPLE`.
    pub caller: Box<str>,
    /// Access key of the signature.
    pub access_key: Box<str>,
    /// ARN of the principal.
    pub user_arn: Box<str>,
    /// The same as `caller`.
    pub user: Box<str>,
}

impl RequestIdentity {
    /// Converts the identity to the type of `aws_lambda_events`.
    pub(crate) fn to_lambda_identity(&self) -> ApiGatewayRequestIdentity {
        let mut identity = ApiGatewayRequestIdentity::default();
        identity.source_ip = Some(String::from(&*self.source_ip));
        identity.user_agent = self.user_agent.as_deref().map(str::to_owned);
        if let Some(ApiKey { key, id }) = self.api_key.as_deref() {
            identity.api_key = Some(key.clone().into());
            identity.api_key_id = Some(id.clone().into());
        }
        if let Some(IamCaller { account_id, caller, access_key, user_arn, user }) = self.iam.as_deref() {
            identity.account_id = Some(account_id.clone().into());
            identity.caller = Some(caller.clone().into());
            identity.access_key = Some(access_key.clone().into());
            identity.user_arn = Some(user_arn.clone().into());
            identity.user = Some(user.clone().into());
        }
        identity
    }
}

impl fmt::Debug for RequestIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestIdentity(..)")
    }
}

impl fmt::Debug for IamCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IamCaller(..)")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}
