//! Keys that the server draws at its start for its own function processes.
//!
//! They have the form of the temporary credentials that Lambda gives to a function, so SDKs sign with them unchanged.
//! They are valid for this process only and are never stored.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::BASE32_NOPAD;
use gateway::event::IamCaller;
use gateway::iam::{IamAction, IamPolicy};
use serde_json::json;

use super::{IamCredentials, SigningCaller};
use crate::secret::Secret;

/// Session name of the caller's ARN.
const SESSION_NAME: &str = "functions";

/// Temporary credentials: access key, secret key and session token. `Debug` shows the access key only.
#[derive(Debug, Clone)]
pub struct GeneratedKeys {
    /// `AWS_ACCESS_KEY_ID`: 20 characters that begin with `ASIA`, as of temporary credentials.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`: 240 random bits in 40 characters.
    pub secret_key: Secret,
    /// `AWS_SESSION_TOKEN`: 384 random bits.
    pub session_token: Secret,
}

impl GeneratedKeys {
    /// Draws new keys from a cryptographically secure generator.
    ///
    /// # Errors
    /// The generator has no entropy.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let (mut access, mut secret, mut token) = ([0; 10], [0; 30], [0; 48]);
        for bytes in [&mut access[..], &mut secret, &mut token] {
            aws_lc_rs::rand::fill(bytes)?;
        }
        Ok(Self {
            access_key: format!("ASIA{}", BASE32_NOPAD.encode(&access)),
            secret_key: Secret::new(&STANDARD.encode(secret)),
            session_token: Secret::new(&STANDARD.encode(token)),
        })
    }
}

impl IamCredentials {
    /// Returns these credentials and, in addition, a caller with `keys`: a role of the account that may call
    /// `@connections` and nothing else.
    #[must_use]
    pub fn with_generated_keys(&self, keys: &GeneratedKeys, account_id: &str, role: &str) -> Self {
        let policy = IamPolicy::parse(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": IamAction::ManageConnections.as_str(), "Resource": "*"},
        ]}));
        let principal: Box<str> = format!("{}:{SESSION_NAME}", keys.access_key).into();
        let identity = IamCaller {
            account_id: account_id.into(),
            caller: principal.clone(),
            access_key: keys.access_key.as_str().into(),
            user_arn: format!("arn:aws:sts::{account_id}:assumed-role/{role}/{SESSION_NAME}").into(),
            user: principal,
        };
        let caller = SigningCaller {
            identity,
            policy: policy.expect("the policy is valid"),
            secret: keys.secret_key.clone(),
            session_token: Some(keys.session_token.clone()),
        };
        let mut callers = (*self.0).clone();
        callers.insert(keys.access_key.as_str().into(), caller);
        Self(Arc::new(callers))
    }
}
