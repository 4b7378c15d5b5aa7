//! World of three pods with a load balancer: the clients of one scenario are connected to different pods.

use super::exit_checks::{assert_clean, assert_private};
use super::{Needs, TokenClaims, World, sign_token};
use crate::eventually;
use crate::pod_cluster::{PodCluster, durable_redis, launch_pod};
use crate::server::{SECRET, ServerLaunch};

/// Number of pods.
const PODS: usize = 3;

/// Three pods with one Redis.
pub struct Pods {
    cluster: PodCluster,
}

impl World for Pods {
    async fn start(needs: Needs) -> Self {
        let redis = durable_redis().unwrap_or_else(|error| panic!("cannot start Redis: {error:#}"));
        let launches = (0..PODS).map(|_| launch(&redis.url(), needs)).collect();
        let cluster =
            PodCluster::start(redis, launches).await.unwrap_or_else(|error| panic!("cannot start the pods: {error:#}"));
        Self { cluster }
    }

    fn socket_url(&self) -> String {
        self.cluster.socket_url()
    }

    fn http_url(&self) -> String {
        self.cluster.http_url()
    }

    fn token(&self, grant: &TokenClaims) -> String {
        sign_token(SECRET, grant)
    }

    /// Restarts one pod after the other.
    async fn restart(&mut self) {
        self.cluster.rolling_restart().await.iter().for_each(assert_clean);
    }

    /// Kills all pods at the same time.
    async fn crash(&mut self) {
        self.cluster.kill_all().await.iter().for_each(|exit| assert_private(&exit.stderr));
    }

    async fn finish(mut self) {
        for pod in &self.cluster.pods {
            pod.assert_healthy().await;
            pod.wait_for_metric("twinway_session_open_connections", 0.0).await;
        }
        let backend = self.cluster.http().with_token(self.token(&TokenClaims::service("harness")));
        eventually!("all connection records to be deleted", {
            let status = backend.get("/v1/status").await.expect_ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        // The same for all tenants, and for the pods' registrations.
        eventually!("all connection keys in Redis to be deleted", {
            self.cluster.connection_keys().expect("Redis answers").is_empty().then_some(())
        });
        self.cluster.stop().await.iter().for_each(assert_clean);
    }
}

fn launch(redis_url: &str, needs: Needs) -> ServerLaunch {
    let launch = launch_pod(redis_url)
        // No leeway, so that tests of token expiry are short.
        .with_env("TWINWAY_AUTH_LEEWAY", "0s")
        // Shorter than the defaults, so that tests that kill pods finish within their timeout.
        .with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms")
        .with_env("TWINWAY_CLUSTER_LEASE", "3s");
    match needs.retention_entries {
        Some(entries) => launch.with_env("TWINWAY_RETENTION_ENTRIES", entries),
        None => launch,
    }
}
