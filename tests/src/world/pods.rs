//! The world of three pods behind a balancer: people of one scenario are on different pods.

use super::aftermath::{assert_clean, assert_private};
use super::{Grant, Needs, World, sign};
use crate::eventually;
use crate::fleet::{Fleet, durable_redis, pod};
use crate::server::{Launch, SECRET};

/// How many pods there are.
const PODS: usize = 3;

/// Three pods with one Redis.
pub struct Pods {
    fleet: Fleet,
}

impl World for Pods {
    async fn start(needs: Needs) -> Self {
        let redis = durable_redis().unwrap_or_else(|error| panic!("there is no Redis: {error:#}"));
        let launches = (0..PODS).map(|_| launch(&redis.url(), needs)).collect();
        let fleet = Fleet::start(redis, launches).await.unwrap_or_else(|error| panic!("there are no pods: {error:#}"));
        Self { fleet }
    }

    fn socket_url(&self) -> String {
        self.fleet.socket_url()
    }

    fn http_url(&self) -> String {
        self.fleet.http_url()
    }

    fn token(&self, grant: &Grant) -> String {
        sign(SECRET, grant)
    }

    /// One pod after the other.
    async fn restart(&mut self) {
        self.fleet.roll().await.iter().for_each(assert_clean);
    }

    /// All pods at once.
    async fn crash(&mut self) {
        self.fleet.crash().await.iter().for_each(|exit| assert_private(&exit.stderr));
    }

    async fn finish(mut self) {
        for pod in &self.fleet.pods {
            pod.assert_healthy().await;
            pod.until_metric("twinway_session_open", 0.0).await;
        }
        let backend = self.fleet.http().bearing(self.token(&Grant::service("harness")));
        eventually!("no connection record to be left", {
            let status = backend.get("/v1/status").await.ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        // The same for all tenants, and for what pods have written down about their connections.
        eventually!("Redis to have forgotten every connection", {
            self.fleet.records().expect("Redis answers").is_empty().then_some(())
        });
        self.fleet.stop().await.iter().for_each(assert_clean);
    }
}

fn launch(redis_url: &str, needs: Needs) -> Launch {
    let launch = pod(redis_url)
        // As in the world of one process: scenarios wait for tokens to run out.
        .with("TWINWAY_AUTH_LEEWAY", "0s")
        // Shorter than the defaults, as is the patience of a test that has killed pods.
        .with("TWINWAY_CLUSTER_HEARTBEAT", "500ms")
        .with("TWINWAY_CLUSTER_LEASE", "3s");
    match needs.retention_entries {
        Some(entries) => launch.with("TWINWAY_RETENTION_ENTRIES", entries),
        None => launch,
    }
}
