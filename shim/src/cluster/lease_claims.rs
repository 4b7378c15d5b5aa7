//! Claims of a pod: the namespace of Redis, and a node id with its lease.

use std::sync::Arc;
use std::time::Duration;

use handlers::ports::Clock;

use super::ClusterJoinError;
use super::lease_store::{ClaimedLease, LeaseId, LeaseStore};
use super::namespace::{NAMESPACE_KEY, NamespaceIdentity};
use crate::redis::{RedisClient, RedisClientError};

/// Random node ids that one attempt tries. It is unlikely that all of them are in use unless most of the 65,535 node
/// ids are.
const NODE_IDS_PER_ATTEMPT: usize = 16;
/// Attempts before [`LeaseClaims::claim_random_node_id`] fails.
const MAX_CLAIM_ATTEMPTS: usize = 4;
/// Number of node ids that are tried before a claim fails.
pub(super) const MAX_CLAIMED_CANDIDATES: usize = NODE_IDS_PER_ATTEMPT * MAX_CLAIM_ATTEMPTS;

/// Claims the namespace and node ids for one deployment.
pub(super) struct LeaseClaims {
    redis: RedisClient,
    lease_store: LeaseStore,
    namespace: NamespaceIdentity,
    clock: Arc<dyn Clock>,
}

impl LeaseClaims {
    /// `lease` is the duration of a lease.
    pub(super) fn new(
        redis: RedisClient,
        lease: Duration,
        namespace: NamespaceIdentity,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lease_store = LeaseStore::new(redis.clone(), lease);
        Self { redis, lease_store, namespace, clock }
    }

    /// Returns the leases of all pods, on the connection of these claims.
    pub(super) const fn lease_store(&self) -> &LeaseStore {
        &self.lease_store
    }

    /// Returns the same claims on a Redis connection of their own. `lease` is the duration of a lease.
    pub(super) fn with_own_connection(&self, lease: Duration) -> Self {
        Self::new(self.redis.with_own_connection(), lease, self.namespace.clone(), self.clock.clone())
    }

    /// Claims the namespace for this deployment.
    ///
    /// # Errors
    /// [`ClusterJoinError::ForeignNamespace`] when another deployment owns it, or a Redis error.
    pub(super) async fn claim_namespace(&self) -> Result<(), ClusterJoinError> {
        if self.namespace.claim_namespace(&self.redis).await? {
            return Ok(());
        }
        let (namespace, key) = (self.redis.namespace_name(), self.redis.prefixed_key(NAMESPACE_KEY));
        Err(ClusterJoinError::ForeignNamespace { namespace, key })
    }

    /// Claims the first free one of up to [`NODE_IDS_PER_ATTEMPT`] random node ids, in [`MAX_CLAIM_ATTEMPTS`] attempts.
    ///
    /// # Errors
    /// [`ClusterJoinError::NoFreeNodeId`] when all of them are in use, or a Redis error.
    pub(super) async fn claim_random_node_id(&self) -> Result<ClaimedLease, ClusterJoinError> {
        let clock = &self.clock;
        for _ in 0..MAX_CLAIM_ATTEMPTS {
            let candidates = random_node_ids()?;
            if let Some(claimed) =
                self.lease_store.claim_lease(&clock.fresh_id(), &clock.fresh_id(), &candidates).await?
            {
                return Ok(claimed);
            }
        }
        Err(ClusterJoinError::NoFreeNodeId)
    }

    /// Claims the node id of `lease_id` again, after Redis lost its lease; `None` when another pod has claimed it.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The node id may have been claimed.
    pub(super) async fn reclaim_node_id(&self, lease_id: &LeaseId) -> Result<Option<ClaimedLease>, RedisClientError> {
        let fresh_epoch = self.clock.fresh_id();
        self.lease_store.claim_lease(lease_id.incarnation(), &fresh_epoch, &[lease_id.node_id()]).await
    }
}

fn random_node_ids() -> Result<Vec<u16>, getrandom::Error> {
    let mut bytes = [0; NODE_IDS_PER_ATTEMPT * 2];
    getrandom::fill(&mut bytes)?;
    let ids = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    Ok(ids.filter(|node_id| *node_id != 0).collect())
}
