//! The contract of [`RevocationStore`].

use std::sync::Arc;

use super::tenant_id;
use crate::id::{TokenId, UserId};
use crate::ports::{Revocation, RevocationStore, RevokedSubject, Timestamp};

/// Later than the clock of every adapter: an expired revocation may be absent.
const EXPIRES_AT: Timestamp = Timestamp(4_102_444_800_000);

/// Runs every case, each on a new store.
pub async fn run_suite(fresh: impl AsyncFn() -> Arc<dyn RevocationStore>) {
    revocations_read_back(fresh().await).await;
    a_put_replaces_the_revocation_of_its_subject(fresh().await).await;
    subjects_and_tenants_are_separate(fresh().await).await;
    a_deleted_revocation_is_absent(fresh().await).await;
}

fn user(name: &str) -> RevokedSubject {
    RevokedSubject::User(UserId::parse(name).expect(super::VALID_NAMES))
}

fn token(id: &str) -> RevokedSubject {
    RevokedSubject::Token(TokenId::parse(id).expect(super::VALID_NAMES))
}

fn revocation(of_tenant: &str, subject: RevokedSubject, issued_before: i64) -> Revocation {
    Revocation { tenant: tenant_id(of_tenant), subject, issued_before, expires_at: EXPIRES_AT }
}

/// A revocation is read back unchanged, whatever characters its id has; a missing one is not found.
pub async fn revocations_read_back(store: Arc<dyn RevocationStore>) {
    for subject in [user("alice"), token("0b5e"), token("a#b/c:{d}*%"), token(&"x".repeat(128))] {
        let revocation = revocation("acme", subject, 1_795_000_000);
        assert_eq!(store.find_revocation(&revocation.tenant, &revocation.subject).await.expect("find"), None);
        store.put_revocation(&revocation).await.expect("put");
        let found = store.find_revocation(&revocation.tenant, &revocation.subject).await.expect("find");
        assert_eq!(found, Some(revocation), "a revocation reads back as it was put");
    }
}

/// The last write counts.
pub async fn a_put_replaces_the_revocation_of_its_subject(store: Arc<dyn RevocationStore>) {
    for issued_before in [20, 10] {
        let revocation = revocation("acme", user("alice"), issued_before);
        store.put_revocation(&revocation).await.expect("put");
        let found = store.find_revocation(&revocation.tenant, &revocation.subject).await.expect("find");
        assert_eq!(found, Some(revocation), "the last put replaces the others");
    }
}

/// A revocation affects neither another tenant, nor a token with the name of a user.
pub async fn subjects_and_tenants_are_separate(store: Arc<dyn RevocationStore>) {
    store.put_revocation(&revocation("acme", user("alice"), 10)).await.expect("put");
    for (tenant, subject) in [("other", user("alice")), ("acme", token("alice")), ("acme", user("bob"))] {
        let found = store.find_revocation(&tenant_id(tenant), &subject).await.expect("find");
        assert_eq!(found, None, "{tenant} {subject:?}");
    }
}

/// One delete reports the revocation.
pub async fn a_deleted_revocation_is_absent(store: Arc<dyn RevocationStore>) {
    let revocation = revocation("acme", user("alice"), 10);
    let delete = async || store.delete_revocation(&revocation.tenant, &revocation.subject).await.expect("delete");
    assert!(!delete().await, "there is nothing to delete");
    store.put_revocation(&revocation).await.expect("put");
    assert!(delete().await, "the revocation was deleted");
    assert_eq!(store.find_revocation(&revocation.tenant, &revocation.subject).await.expect("find"), None);
    assert!(!delete().await, "it is deleted once");
}
