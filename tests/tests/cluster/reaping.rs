//! A pod dies, and every connection of it gets one `$disconnect`.

use std::sync::Arc;

use tests::eventually;
use tests::redis::RedisServer;

use super::world::{Application, Pod, ask, connection_keys};
use shim::connection::ConnectionRegistry as _;

#[tokio::test]
async fn two_survivors_share_a_dead_pods_thousand_connections_out() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let dying = Pod::join(&server, &application).await;
    let survivors = [Pod::join(&server, &application).await, Pod::join(&server, &application).await];
    let handles = dying.connect_many(1_000).await;
    let bystander = survivors[0].connect().await;
    dying.die().await;
    eventually!("every connection to be finished", (application.finished() == 1_000).then_some(()));
    eventually!("the dead pod to be forgotten", (ask(&server, "HLEN", "nodes") == "2").then_some(()));
    for handle in &handles {
        assert_eq!((application.runs(handle.id), application.status(handle.id)), (1, 1006));
    }
    assert_eq!(application.runs(bystander.id), 0);
    let reaped = survivors.each_ref().map(|survivor| survivor.metrics.reaped_connections.get());
    assert!(reaped.iter().all(|reaped| *reaped > 0) && reaped.iter().sum::<u64>() == 1_000, "{reaped:?}");
    assert_eq!(survivors.iter().map(|survivor| survivor.metrics.fenced_pods.get()).sum::<u64>(), 1);
    assert_eq!(connection_keys(&server).len(), 1, "only the bystander's list is left");
}

#[tokio::test]
async fn a_survivor_that_dies_in_the_middle_is_survived_too() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let dying = Pod::join(&server, &application).await;
    let handles = dying.connect_many(300).await;
    let first = Pod::with_permits(&server, &application, 100).await;
    dying.die().await;
    eventually!("the first survivor to be in the middle", (application.finished() == 100).then_some(()));
    first.die().await;
    let second = Pod::join(&server, &application).await;
    eventually!("every connection to be finished", (application.finished() == 300).then_some(()));
    eventually!("both dead pods to be forgotten", (ask(&server, "HLEN", "nodes") == "1").then_some(()));
    let twice = handles.iter().filter(|handle| application.runs(handle.id) > 1).count();
    assert!(twice < 32, "{twice} ran again, more than one share");
    assert!(handles.iter().all(|handle| application.runs(handle.id) <= 2));
    assert_eq!((first.metrics.fenced_pods.get(), second.metrics.fenced_pods.get()), (1, 1));
    assert!(connection_keys(&server).is_empty());
    assert_eq!((ask(&server, "ZCARD", "fenced"), ask(&server, "HLEN", "owed")), ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn a_pod_that_was_taken_for_dead_closes_its_connections_and_goes_on_under_another_number() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (pod, other) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let handles = pod.connect_many(20).await;
    let number = pod.cluster.node_id();
    fence(&server, number);
    eventually!("the connections to be closed", handles.iter().all(|handle| handle.is_closing()).then_some(()));
    for handle in &handles {
        // Their sessions end now, and must not run a second `$disconnect`.
        pod.end(handle).await;
    }
    eventually!("the other pod to finish them", (application.finished() == 20).then_some(()));
    eventually!("a new number to be claimed", (pod.cluster.node_id() != number).then_some(()));
    eventually!("the old number to be free", (ask(&server, "HLEN", "nodes") == "2").then_some(()));
    assert!(handles.iter().all(|handle| (application.runs(handle.id), application.status(handle.id)) == (1, 1006)));
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
async fn what_others_finished_before_it_was_open_is_finished_again() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (pod, _other) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let facts = pod.facts();
    let enrolment = pod.cluster.connection_registry().register(&facts).await.unwrap();
    fence(&server, pod.cluster.node_id());
    eventually!("the other pod to finish it", (application.runs(facts.connection_id) == 1).then_some(()));
    eventually!("the pod to learn of it", (pod.metrics.lost_leases.get() == 1).then_some(()));
    // Only now `$connect` has its effects here.
    let handle = pod.open(&facts);
    assert!(!enrolment.mark_opened());
    pod.cluster.connection_registry().reclaim(&facts);
    pod.end(&handle).await;
    assert_eq!(application.runs(facts.connection_id), 2);
    eventually!("nothing to be left", connection_keys(&server).is_empty().then_some(()));
}

/// What another pod's fence does, without the wait for a pod that hangs.
fn fence(server: &RedisServer, number: u16) {
    let name = ask(server, "HGETALL", "nodes");
    let name = name.lines().find(|line| line.starts_with(&format!("{number}."))).unwrap().to_owned();
    let key = |rest: &str| format!("twinway:{{cluster}}:{rest}");
    let take_away = "redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('ZADD', KEYS[2], redis.call('TIME')[1] * 1000, ARGV[1]) \
                     return redis.call('HSET', KEYS[3], ARGV[2], '-' .. ARGV[1])";
    let number = number.to_string();
    let fence = ["EVAL", take_away, "3", &key("leases"), &key("fenced"), &key("nodes"), &name, &number];
    server.run_command(&fence).unwrap();
}
