//! Check of a token against the revocations.

use super::MessagingApp;
use crate::identity::Identity;
use crate::ports::{RevokedSubject, StoreError, TokenIssue};

impl MessagingApp {
    /// Returns whether the token of `identity` is revoked: one read, and another one for a token with an id.
    pub(crate) async fn is_revoked(&self, identity: &Identity, issue: &TokenIssue) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let subjects =
            [Some(RevokedSubject::User(identity.user.clone())), issue.token.clone().map(RevokedSubject::Token)];
        for subject in subjects.into_iter().flatten() {
            let found = self.access.revocations.find_revocation(&identity.tenant, &subject).await?;
            if found.is_some_and(|revocation| revocation.rejects(issue, now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
