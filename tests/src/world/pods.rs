//! The world of three pods behind a balancer: people of one scenario are on different pods.

use super::exit_checks::{assert_clean, assert_private};
use super::{Needs, TokenClaims, World, sign_token};
use crate::eventually;
use crate::pod_cluster::{PodCluster, durable_redis, launch_pod};
use crate::server::{SECRET, ServerLaunch};

/// How many pods there are.
const PODS: usize = 3;

/// Three pods with one Redis.
pub struct Pods {
    fleet: PodCluster,
}

impl World for Pods {
    async fn start(needs: Needs) -> Self {
        let redis = durable_redis().unwrap_or_else(|error| panic!("there is no Redis: {error:#}"));
        let launches = (0..PODS).map(|_| launch(&redis.url(), needs)).collect();
        let fleet =
            PodCluster::start(redis, launches).await.unwrap_or_else(|error| panic!("there are no pods: {error:#}"));
        Self { fleet }
    }

    fn socket_url(&self) -> String {
        self.fleet.socket_url()
    }

    fn http_url(&self) -> String {
        self.fleet.http_url()
    }

    fn token(&self, grant: &TokenClaims) -> String {
        sign_token(SECRET, grant)
    }

    /// One pod after the other.
    async fn restart(&mut self) {
        self.fleet.rolling_restart().await.iter().for_each(assert_clean);
    }

    /// All pods at once.
    async fn crash(&mut self) {
        self.fleet.kill_all().await.iter().for_each(|exit| assert_private(&exit.stderr));
    }

    async fn finish(mut self) {
        for pod in &self.fleet.pods {
            pod.assert_healthy().await;
            pod.wait_for_metric("twinway_session_open_connections", 0.0).await;
        }
        let backend = self.fleet.http().with_token(self.token(&TokenClaims::service("harness")));
        eventually!("no connection record to be left", {
            let status = backend.get("/v1/status").await.expect_ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        // The same for all tenants, and for what pods have written down about their connections.
        eventually!("Redis to have forgotten every connection", {
            self.fleet.connection_keys().expect("Redis answers").is_empty().then_some(())
        });
        self.fleet.stop().await.iter().for_each(assert_clean);
    }
}

fn launch(redis_url: &str, needs: Needs) -> ServerLaunch {
    let launch = launch_pod(redis_url)
        // As in the world of one process: scenarios wait for tokens to run out.
        .with_env("TWINWAY_AUTH_LEEWAY", "0s")
        // Shorter than the defaults, as is the patience of a test that has killed pods.
        .with_env("TWINWAY_CLUSTER_HEARTBEAT", "500ms")
        .with_env("TWINWAY_CLUSTER_LEASE", "3s");
    match needs.retention_entries {
        Some(entries) => launch.with_env("TWINWAY_RETENTION_ENTRIES", entries),
        None => launch,
    }
}
