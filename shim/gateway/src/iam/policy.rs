//! What a signing caller may do: an identity-based policy, as far as `execute-api` needs one.
//!
//! Invariant: the rules are those of authorizer policies: an explicit deny wins, and nothing is allowed unless a statement
//! without conditions says so.

use std::fmt;

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerPolicy;
use serde_json::Value;

use crate::policy::{self, INVOKE_ACTION, PolicyDecision};

/// Something that a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IamAction {
    /// `execute-api:Invoke`: open a connection (IAM-1).
    Invoke,
    /// `execute-api:ManageConnections`: call `@connections` (SG-1).
    ManageConnections,
}

/// The policy of a caller.
#[derive(Clone)]
pub struct IamPolicy(ApiGatewayCustomAuthorizerPolicy);

impl IamAction {
    /// The name in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => INVOKE_ACTION,
            Self::ManageConnections => "execute-api:ManageConnections",
        }
    }
}

impl IamPolicy {
    /// Reads a policy document; `None` when it is none.
    #[must_use]
    pub fn parse(document: Value) -> Option<Self> {
        policy::parse_policy(document).map(Self)
    }

    /// Whether it allows `action` on the ARN `resource`.
    #[must_use]
    pub fn allows(&self, action: IamAction, resource: &str) -> bool {
        policy::evaluate_policy(&self.0, action.as_str(), resource) == PolicyDecision::Allow
    }
}

impl fmt::Debug for IamPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IamPolicy").field("statements", &self.0.statement.len()).finish()
    }
}
