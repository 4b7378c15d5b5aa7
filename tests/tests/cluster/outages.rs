//! Redis outages, with and without data loss: connections stay open, and no pod loses its lease.

use std::sync::Arc;

use shim::connection::{ConnectionRegistry as _, RegisterError};
use tests::eventually;
use tests::redis::{RedisOptions, RedisServer};

use super::world::{Application, Pod, connection_keys, run_on_key};

/// Returns the total number of registered connections.
fn registered_connections(server: &RedisServer) -> usize {
    let count = |key: &String| server.run_command(&["HLEN", key]).unwrap().parse::<usize>().unwrap();
    connection_keys(server).iter().map(count).sum()
}

/// Waits until every pod has missed enough heartbeats for its lease to expire.
async fn wait_for_lease_duration(pods: &[Pod]) {
    let missed = pods.iter().map(|pod| pod.metrics.missed_heartbeats.get() + 12).collect::<Vec<_>>();
    for (pod, missed) in pods.iter().zip(missed) {
        eventually!(
            "the heartbeats of a lease to be missed",
            (pod.metrics.missed_heartbeats.get() >= missed).then_some(())
        );
    }
}

#[tokio::test]
async fn a_restart_that_keeps_the_data_closes_no_connection() {
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    let (mut server, application) = (RedisServer::start_with(options).unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let node_ids = pods.each_ref().map(|pod| pod.cluster.node_id());
    let connections = [pods[0].connect_many(20).await, pods[1].connect_many(20).await];
    server.kill();
    for pod in &pods {
        eventually!(
            "readiness to report the outage",
            (pod.readiness.unavailable_dependencies() == ["redis"]).then_some(())
        );
        let rejected = pod.cluster.connection_registry().register(&pod.facts()).await.err();
        assert!(matches!(rejected, Some(RegisterError::Store(_))), "{rejected:?}");
    }
    // These end during the outage.
    pods[0].end(&connections[0][0]).await;
    pods[1].end(&connections[1][0]).await;
    wait_for_lease_duration(&pods).await;
    server.restart().unwrap();
    for pod in &pods {
        eventually!("the pod to be ready again", pod.readiness.unavailable_dependencies().is_empty().then_some(()));
    }
    eventually!("the ends to be deleted from the registry", (registered_connections(&server) == 38).then_some(()));
    // The reapers' grace period has passed when a pod that really dies is detected.
    let dying = Pod::join(&server, &application).await;
    let last = dying.connect().await;
    dying.die().await;
    eventually!("the dead pod's connection to be completed", (application.runs(last.id) == 1).then_some(()));
    assert_eq!(application.finished(), 3, "only ended connections are completed");
    assert_eq!(pods.each_ref().map(|pod| pod.cluster.node_id()), node_ids);
    assert_eq!(pods.iter().map(|pod| pod.metrics.lost_leases.get()).sum::<u64>(), 0);
    assert!(connections.iter().flatten().all(|connection| !connection.is_closing()));
}

#[tokio::test]
async fn a_pause_longer_than_a_lease_costs_no_lease() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let connections = pods[0].connect_many(5).await;
    server.suspend().unwrap();
    eventually!(
        "readiness to report the outage",
        (pods[0].readiness.unavailable_dependencies() == ["redis"]).then_some(())
    );
    wait_for_lease_duration(&pods).await;
    server.resume().unwrap();
    for pod in &pods {
        eventually!("the pod to be ready again", pod.readiness.unavailable_dependencies().is_empty().then_some(()));
    }
    let dying = Pod::join(&server, &application).await;
    let last = dying.connect().await;
    dying.die().await;
    eventually!("the dead pod's connection to be completed", (application.runs(last.id) == 1).then_some(()));
    eventually!("its registration to be deleted", (registered_connections(&server) == 5).then_some(()));
    assert_eq!(application.finished(), 1);
    assert!(connections.iter().all(|connection| !connection.is_closing()));
}

#[tokio::test]
async fn after_a_loss_of_all_data_pods_and_connections_are_registered_again() {
    let (mut server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let node_ids = pods.each_ref().map(|pod| pod.cluster.node_id());
    let connections = [pods[0].connect_many(300).await, pods[1].connect_many(10).await];
    // Once with the connection intact, once with it lost.
    server.run_command(&["FLUSHALL"]).unwrap();
    eventually!("all connections to be registered again", (registered_connections(&server) == 310).then_some(()));
    server.kill();
    server.restart().unwrap();
    eventually!("all connections to be registered again", (registered_connections(&server) == 310).then_some(()));
    assert_eq!(
        pods.each_ref().map(|pod| pod.cluster.node_id()),
        node_ids,
        "the node ids in the connection ids stay valid"
    );
    assert_eq!((application.finished(), run_on_key(&server, "ZCARD", "leases")), (0, "2".to_owned()));
    // The new registrations are used like the lost ones.
    pods[0].die().await;
    eventually!("the dead pod's connections to be completed", (application.finished() == 300).then_some(()));
    assert!(connections[0].iter().all(|connection| application.runs(connection.id) == 1));
}

#[tokio::test]
async fn a_full_redis_keeps_leases_and_lets_connections_end() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let (dying, leaving) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let staying = pods[0].connect_many(5).await;
    dying.connect_many(20).await;
    leaving.connect_many(3).await;
    let missed = pods.each_ref().map(|pod| pod.metrics.missed_heartbeats.get());
    server.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let rejected = pods[0].cluster.connection_registry().register(&pods[0].facts()).await.err();
    assert!(matches!(rejected, Some(RegisterError::Store(_))), "{rejected:?}");
    pods[0].end(&staying[0]).await;
    leaving.leave().await;
    dying.die().await;
    eventually!("the dead pods' connections to be completed", (application.finished() == 24).then_some(()));
    eventually!("the dead pods' leases to be deleted", (run_on_key(&server, "HLEN", "nodes") == "2").then_some(()));
    eventually!(
        "the registrations of ended connections to be deleted",
        (registered_connections(&server) == 4).then_some(())
    );
    assert_eq!(pods.each_ref().map(|pod| pod.metrics.missed_heartbeats.get()), missed, "a heartbeat needs no memory");
    assert!(
        pods.iter()
            .all(|pod| pod.readiness.unavailable_dependencies().is_empty() && pod.metrics.lost_leases.get() == 0)
    );
    assert!(staying[1..].iter().all(|connection| !connection.is_closing()));
    server.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    pods[0].connect().await;
}

#[tokio::test]
async fn a_failover_that_loses_a_lease_and_registrations_closes_no_connection() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pods = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let node_ids = pods.each_ref().map(|pod| pod.cluster.node_id());
    let connections = [pods[0].connect_many(20).await, pods[1].connect_many(20).await];
    // A replica that lacks the latest writes: the lease of one pod, and its registrations.
    let lease = server.run_command(&["HGET", "twinway:{cluster}:nodes", &node_ids[0].to_string()]).unwrap();
    server.run_command(&["DEL", &format!("twinway:{{cluster}}:connections:{lease}")]).unwrap();
    server.run_command(&["HDEL", "twinway:{cluster}:nodes", &node_ids[0].to_string()]).unwrap();
    server.run_command(&["ZREM", "twinway:{cluster}:leases", &lease]).unwrap();
    eventually!("the lease to be claimed again", {
        (run_on_key(&server, "ZCARD", "leases") == "2" && registered_connections(&server) == 40).then_some(())
    });
    assert_eq!(pods.each_ref().map(|pod| pod.cluster.node_id()), node_ids);
    assert_eq!(pods.iter().map(|pod| pod.metrics.lost_leases.get()).sum::<u64>(), 0);
    assert!(connections.iter().flatten().all(|connection| !connection.is_closing()));
    assert_eq!(application.finished(), 0);
}

#[tokio::test]
async fn a_deletion_that_a_failover_lost_is_repeated_with_its_disconnect() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let connections = pod.connect_many(3).await;
    let key = connection_keys(&server).remove(0);
    let record = server.run_command(&["HGET", &key, connections[0].id.as_str()]).unwrap();
    pod.end(&connections[0]).await;
    eventually!("the registration to be deleted", (registered_connections(&server) == 2).then_some(()));
    // The deletion is lost, and the heartbeat finds another master.
    server.run_command(&["HSET", &key, connections[0].id.as_str(), &record]).unwrap();
    let unused_port = tests::redis::free_port().unwrap().to_string();
    server.run_command(&["REPLICAOF", "127.0.0.1", &unused_port]).unwrap();
    server.run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    eventually!("another $disconnect", (application.runs(connections[0].id) == 2).then_some(()));
    eventually!("the registration to be deleted again", (registered_connections(&server) == 2).then_some(()));
    assert_eq!(application.finished(), 1, "open connections are not affected");
}
