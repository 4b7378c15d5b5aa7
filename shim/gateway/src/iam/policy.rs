//! Identity-based policy of a signing caller, limited to the actions of `execute-api`.
//!
//! The rules are those of authorizer policies: an explicit deny wins, and only a statement without conditions allows an
//! action.

use std::fmt;

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerPolicy;
use serde_json::Value;

use crate::policy::{self, INVOKE_ACTION, PolicyDecision};

/// Action that a policy allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IamAction {
    /// `execute-api:Invoke`: opens a connection (IAM-1).
    Invoke,
    /// `execute-api:ManageConnections`: calls `@connections` (SG-1).
    ManageConnections,
}

/// The policy of a caller.
#[derive(Clone)]
pub struct IamPolicy(ApiGatewayCustomAuthorizerPolicy);

impl IamAction {
    /// Returns the name in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => INVOKE_ACTION,
            Self::ManageConnections => "execute-api:ManageConnections",
        }
    }
}

impl IamPolicy {
    /// Parses a policy document; returns `None` when it is invalid.
    #[must_use]
    pub fn parse(document: Value) -> Option<Self> {
        policy::parse_policy(document).map(Self)
    }

    /// Returns whether the policy allows `action` on the ARN `resource`.
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
