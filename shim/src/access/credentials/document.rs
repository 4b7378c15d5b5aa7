//! Parser of `iam.credentials`: a JSON array with one object per caller, with the field names of IAM's responses.
//!
//! ```json
//! [{"AccessKeyId": "AKIA…", "SecretAccessKey": "…", "Arn": "arn:aws:iam::123456789012:user/backend",
//!   "UserId": "AIDA…", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
//!     {"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "*"}]}}]
//! ```
//!
//! A caller without a policy is rejected, rather than treated as one with all or no permissions. Error texts contain no
//! part of the document.

use std::collections::HashMap;
use std::sync::Arc;

use gateway::event::IamCaller;
use gateway::iam::IamPolicy;
use serde::Deserialize;
use serde_json::Value;

use super::{IamCredentials, MAX_CALLERS, SigningCaller};
use crate::secret::Secret;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CredentialEntry {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    arn: String,
    user_id: Option<String>,
    policy_document: Value,
}

impl IamCredentials {
    /// Parses the document.
    ///
    /// # Errors
    /// A description of the expected form.
    pub fn parse(document: &str) -> Result<Self, String> {
        const FORM: &str = "must be a JSON array of objects with AccessKeyId, SecretAccessKey, Arn, PolicyDocument, and \
                            optionally UserId and SessionToken";
        let entries: Vec<CredentialEntry> = serde_json::from_str(document).map_err(|_| FORM.to_owned())?;
        if entries.len() > MAX_CALLERS {
            return Err(format!("must have at most {MAX_CALLERS} callers"));
        }
        let mut callers = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let caller = parse_caller(entry).map_err(|rule| format!("entry {}: {rule}", index + 1))?;
            if callers.insert(caller.identity.access_key.clone(), caller).is_some() {
                return Err(format!("entry {}: duplicates the AccessKeyId of an earlier entry", index + 1));
            }
        }
        Ok(Self(Arc::new(callers)))
    }
}

fn parse_caller(entry: CredentialEntry) -> Result<SigningCaller, &'static str> {
    let key = &entry.access_key_id;
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("AccessKeyId must have letters and digits only");
    }
    if entry.secret_access_key.is_empty() {
        return Err("SecretAccessKey must not be empty");
    }
    let account = entry.arn.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(3));
    let account = account.filter(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    let account = account.ok_or("Arn must be that of a principal, such as arn:aws:iam::123456789012:user/name")?;
    let policy = IamPolicy::parse(entry.policy_document).ok_or("PolicyDocument must be an IAM policy")?;
    // Without a configured `UserId`, the access key replaces the unique id of the principal.
    let principal: Box<str> = entry.user_id.as_deref().unwrap_or(key).into();
    let identity = IamCaller {
        account_id: account.into(),
        caller: principal.clone(),
        access_key: key.as_str().into(),
        user_arn: entry.arn.as_str().into(),
        user: principal,
    };
    let session_token = entry.session_token.as_deref().map(Secret::new);
    Ok(SigningCaller { identity, policy, secret: Secret::new(&entry.secret_access_key), session_token })
}
