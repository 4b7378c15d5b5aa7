//! Reaping: when a pod dies, each of its connections gets one `$disconnect`.

use std::sync::Arc;

use tests::eventually;
use tests::redis::RedisServer;

use super::world::{Application, Pod, connection_keys, run_on_key};
use shim::connection::ConnectionRegistry as _;

#[tokio::test]
async fn two_survivors_divide_a_dead_pods_thousand_connections() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let dying = Pod::join(&server, &application).await;
    let survivors = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let connections = dying.connect_many(1_000).await;
    let bystander = survivors[0].connect().await;
    dying.die().await;
    eventually!("every connection to be completed", (application.finished() == 1_000).then_some(()));
    eventually!("the dead pod's lease to be deleted", (run_on_key(&server, "HLEN", "nodes") == "2").then_some(()));
    for connection in &connections {
        assert_eq!((application.runs(connection.id), application.status(connection.id)), (1, 1006));
    }
    assert_eq!(application.runs(bystander.id), 0);
    let reaped = survivors.each_ref().map(|survivor| survivor.metrics.reaped_connections.get());
    assert!(reaped.iter().all(|reaped| *reaped > 0) && reaped.iter().sum::<u64>() == 1_000, "{reaped:?}");
    assert_eq!(survivors.iter().map(|survivor| survivor.metrics.fenced_pods.get()).sum::<u64>(), 1);
    assert_eq!(connection_keys(&server).len(), 1, "only the other pod's registrations remain");
}

#[tokio::test]
async fn the_death_of_a_reaping_pod_is_survived_too() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let dying = Pod::join(&server, &application).await;
    let connections = dying.connect_many(300).await;
    let first = Pod::with_permits(&server, &application, 100).await;
    dying.die().await;
    eventually!("the first survivor to have completed 100", (application.finished() == 100).then_some(()));
    first.die().await;
    let second = Pod::join(&server, &application).await;
    eventually!("every connection to be completed", (application.finished() == 300).then_some(()));
    eventually!("both dead pods' leases to be deleted", (run_on_key(&server, "HLEN", "nodes") == "1").then_some(()));
    let twice = connections.iter().filter(|connection| application.runs(connection.id) > 1).count();
    assert!(twice < 32, "{twice} ran again, more than one batch");
    assert!(connections.iter().all(|connection| application.runs(connection.id) <= 2));
    assert_eq!((first.metrics.fenced_pods.get(), second.metrics.fenced_pods.get()), (1, 1));
    assert!(connection_keys(&server).is_empty());
    assert_eq!(
        (run_on_key(&server, "ZCARD", "fenced"), run_on_key(&server, "HLEN", "pending")),
        ("0".to_owned(), "0".to_owned())
    );
}

#[tokio::test]
async fn a_fenced_pod_closes_its_connections_and_continues_with_another_node_id() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (pod, other) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let connections = pod.connect_many(20).await;
    let node_id = pod.cluster.node_id();
    fence(&server, node_id);
    eventually!(
        "the connections to be closed",
        connections.iter().all(|connection| connection.is_closing()).then_some(())
    );
    for connection in &connections {
        // Their sessions end now and must not run a second `$disconnect`.
        pod.end(connection).await;
    }
    eventually!("the other pod to complete them", (application.finished() == 20).then_some(()));
    eventually!("a new node id to be claimed", (pod.cluster.node_id() != node_id).then_some(()));
    eventually!("the old node id to be free", (run_on_key(&server, "HLEN", "nodes") == "2").then_some(()));
    assert!(
        connections
            .iter()
            .all(|connection| (application.runs(connection.id), application.status(connection.id)) == (1, 1006))
    );
    assert_eq!(
        (pod.metrics.lost_leases.get(), pod.metrics.reaped_connections.get() + other.metrics.reaped_connections.get()),
        (1, 20)
    );
    eventually!("the pod to be ready again", pod.readiness.unavailable_dependencies().is_empty().then_some(()));
    let next = pod.connect().await;
    assert_eq!(next.id.node_id(), pod.cluster.node_id());
    assert!(!next.is_closing());
}

#[tokio::test]
async fn a_connection_completed_by_others_before_it_opened_is_completed_again() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (pod, _other) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let facts = pod.facts();
    let registration = pod.cluster.connection_registry().register(&facts).await.unwrap();
    fence(&server, pod.cluster.node_id());
    eventually!("the other pod to complete it", (application.runs(facts.connection_id) == 1).then_some(()));
    eventually!("the pod to detect the loss of its lease", (pod.metrics.lost_leases.get() == 1).then_some(()));
    // `$connect` takes effect only now.
    let connection = pod.open(&facts);
    assert!(!registration.mark_opened());
    pod.cluster.connection_registry().reclaim(&facts);
    pod.end(&connection).await;
    assert_eq!(application.runs(facts.connection_id), 2);
    eventually!("all registrations to be deleted", connection_keys(&server).is_empty().then_some(()));
}

/// Fences a pod as another pod does, without waiting for its lease to expire.
fn fence(server: &RedisServer, node_id: u16) {
    let name = run_on_key(server, "HGETALL", "nodes");
    let name = name.lines().find(|line| line.starts_with(&format!("{node_id}."))).unwrap().to_owned();
    let key = |rest: &str| format!("twinway:{{cluster}}:{rest}");
    let fence_script = "redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('ZADD', KEYS[2], redis.call('TIME')[1] * 1000, ARGV[1]) \
                     return redis.call('HSET', KEYS[3], ARGV[2], '-' .. ARGV[1])";
    let node_id = node_id.to_string();
    let fence = ["EVAL", fence_script, "3", &key("leases"), &key("fenced"), &key("nodes"), &name, &node_id];
    server.run_command(&fence).unwrap();
}
