//! Redis goes away and comes back, with its data or without: connections stay, and nobody is taken for dead.

use std::sync::Arc;

use shim::connection::{ConnectionRegistry as _, RegisterError};
use tests::eventually;
use tests::redis::{RedisOptions, RedisServer};

use super::world::{Application, Pod, ask, connection_keys};

/// How many connections are written down in all.
fn written(server: &RedisServer) -> usize {
    let count = |key: &String| server.run_command(&["HLEN", key]).unwrap().parse::<usize>().unwrap();
    connection_keys(server).iter().map(count).sum()
}

/// Waits until so many heartbeats were missed that every lease has lapsed.
async fn outlast_a_lease(pods: &[Pod]) {
    let missed = pods.iter().map(|pod| pod.metrics.missed_heartbeats.get() + 12).collect::<Vec<_>>();
    for (pod, missed) in pods.iter().zip(missed) {
        eventually!(
            "a lease's worth of heartbeats to be missed",
            (pod.metrics.missed_heartbeats.get() >= missed).then_some(())
        );
    }
}

#[tokio::test]
async fn a_restart_that_keeps_the_data_costs_no_connection() {
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    let (mut server, application) = (RedisServer::start_with(options).unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let numbers = pods.each_ref().map(|pod| pod.cluster.node_id());
    let handles = [pods[0].connect_many(20).await, pods[1].connect_many(20).await];
    server.kill();
    for pod in &pods {
        eventually!(
            "readiness to say what is away",
            (pod.readiness.unavailable_dependencies() == ["redis"]).then_some(())
        );
        let refused = pod.cluster.connection_registry().register(&pod.facts()).await.err();
        assert!(matches!(refused, Some(RegisterError::Store(_))), "{refused:?}");
    }
    // These end while nobody can be told.
    pods[0].end(&handles[0][0]).await;
    pods[1].end(&handles[1][0]).await;
    outlast_a_lease(&pods).await;
    server.restart().unwrap();
    for pod in &pods {
        eventually!("the pod to be ready again", pod.readiness.unavailable_dependencies().is_empty().then_some(()));
    }
    eventually!("the ends to be written down", (written(&server) == 38).then_some(()));
    // The reapers' own patience has passed as well when a pod that really dies is found.
    let dying = Pod::join(&server, &application).await;
    let last = dying.connect().await;
    dying.die().await;
    eventually!("the dead pod's connection to be finished", (application.runs(last.id) == 1).then_some(()));
    assert_eq!(application.finished(), 3, "only what ended is finished");
    assert_eq!(pods.each_ref().map(|pod| pod.cluster.node_id()), numbers);
    assert_eq!(pods.iter().map(|pod| pod.metrics.lost_leases.get()).sum::<u64>(), 0);
    assert!(handles.iter().flatten().all(|handle| !handle.is_closing()));
}

#[tokio::test]
async fn a_pause_longer_than_a_lease_makes_nobody_dead() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let handles = pods[0].connect_many(5).await;
    server.suspend().unwrap();
    eventually!(
        "readiness to say what is away",
        (pods[0].readiness.unavailable_dependencies() == ["redis"]).then_some(())
    );
    outlast_a_lease(&pods).await;
    server.resume().unwrap();
    for pod in &pods {
        eventually!("the pod to be ready again", pod.readiness.unavailable_dependencies().is_empty().then_some(()));
    }
    let dying = Pod::join(&server, &application).await;
    let last = dying.connect().await;
    dying.die().await;
    eventually!("the dead pod's connection to be finished", (application.runs(last.id) == 1).then_some(()));
    eventually!("it to be struck off", (written(&server) == 5).then_some(()));
    assert_eq!(application.finished(), 1);
    assert!(handles.iter().all(|handle| !handle.is_closing()));
}

#[tokio::test]
async fn after_a_loss_of_all_data_pods_and_connections_are_written_down_again() {
    let (mut server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let numbers = pods.each_ref().map(|pod| pod.cluster.node_id());
    let handles = [pods[0].connect_many(300).await, pods[1].connect_many(10).await];
    // Once with the link intact, once with it lost.
    server.run_command(&["FLUSHALL"]).unwrap();
    eventually!("all connections to be there again", (written(&server) == 310).then_some(()));
    server.kill();
    server.restart().unwrap();
    eventually!("all connections to be there again", (written(&server) == 310).then_some(()));
    assert_eq!(pods.each_ref().map(|pod| pod.cluster.node_id()), numbers, "the numbers in the ids still lead here");
    assert_eq!((application.finished(), ask(&server, "ZCARD", "leases")), (0, "2".to_owned()));
    // What was written down again is as good as what was lost.
    pods[0].die().await;
    eventually!("the dead pod's connections to be finished", (application.finished() == 300).then_some(()));
    assert!(handles[0].iter().all(|handle| application.runs(handle.id) == 1));
}

#[tokio::test]
async fn a_full_redis_keeps_leases_and_has_connections_ended() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let (dying, leaving) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let staying = pods[0].connect_many(5).await;
    dying.connect_many(20).await;
    leaving.connect_many(3).await;
    let missed = pods.each_ref().map(|pod| pod.metrics.missed_heartbeats.get());
    server.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let refused = pods[0].cluster.connection_registry().register(&pods[0].facts()).await.err();
    assert!(matches!(refused, Some(RegisterError::Store(_))), "{refused:?}");
    pods[0].end(&staying[0]).await;
    leaving.leave().await;
    dying.die().await;
    eventually!("the dead pods' connections to be finished", (application.finished() == 24).then_some(()));
    eventually!("the dead pods to be forgotten", (ask(&server, "HLEN", "nodes") == "2").then_some(()));
    eventually!("what has ended to be struck off", (written(&server) == 4).then_some(()));
    assert_eq!(pods.each_ref().map(|pod| pod.metrics.missed_heartbeats.get()), missed, "a heartbeat takes no memory");
    assert!(
        pods.iter()
            .all(|pod| pod.readiness.unavailable_dependencies().is_empty() && pod.metrics.lost_leases.get() == 0)
    );
    assert!(staying[1..].iter().all(|handle| !handle.is_closing()));
    server.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    pods[0].connect().await;
}
