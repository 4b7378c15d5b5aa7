//! Registry: a connection is registered from before its `$connect` until after its `$disconnect`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tests::eventually;
use tests::redis::RedisServer;

use super::world::{Application, Pod, connection_keys, run_on_key};
use shim::connection::ConnectionRegistry as _;

#[tokio::test]
async fn a_connection_is_registered_for_its_lifetime() {
    let (mut server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let connections = pod.connect_many(3).await;
    let [key] = &connection_keys(&server)[..] else { panic!("one pod has one list") };
    assert_eq!(server.run_command(&["HLEN", key]).unwrap(), "3");
    let record = server.run_command(&["HGET", key, connections[0].id.as_str()]).unwrap();
    assert!(record.starts_with("{\"v\":1,"), "{record}");
    for connection in &connections {
        pod.end(connection).await;
        assert_eq!((application.runs(connection.id), application.status(connection.id)), (1, 1005));
    }
    eventually!("the registry to be empty", connection_keys(&server).is_empty().then_some(()));
    pod.leave().await;
    assert_eq!(
        (run_on_key(&server, "ZCARD", "leases"), run_on_key(&server, "HLEN", "nodes")),
        ("0".to_owned(), "0".to_owned())
    );
    server.kill();
}

#[tokio::test]
async fn a_rejected_handshake_gets_no_disconnect_and_an_aborted_one_gets_one() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let (rejected, aborted) = (pod.facts(), pod.facts());
    pod.cluster.connection_registry().register(&rejected).await.unwrap().mark_rejected();
    drop(pod.cluster.connection_registry().register(&aborted).await.unwrap());
    eventually!("the registry to be empty", connection_keys(&server).is_empty().then_some(()));
    assert_eq!((application.runs(rejected.connection_id), application.runs(aborted.connection_id)), (0, 1));
    assert!(pod.cluster.connection_registry().is_empty());
}

#[tokio::test]
async fn a_failed_disconnect_runs_again_and_the_connection_stays_registered_until_then() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let connection = pod.connect().await;
    application.failing.store(true, Ordering::SeqCst);
    pod.end(&connection).await;
    assert_eq!(connection_keys(&server).len(), 1, "the connection is not completed");
    application.failing.store(false, Ordering::SeqCst);
    eventually!("the registry to be empty", connection_keys(&server).is_empty().then_some(()));
    assert!(application.runs(connection.id) >= 2);
    assert_eq!(application.status(connection.id), 1005, "the close cause is unchanged");
}

#[tokio::test]
async fn connections_left_after_a_drain_are_completed_by_other_pods() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (first, second) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let connection = first.connect().await;
    first.leave().await;
    eventually!("the other pod to complete it", (application.runs(connection.id) == 1).then_some(()));
    eventually!("the first pod's lease to be deleted", (run_on_key(&server, "HLEN", "nodes") == "1").then_some(()));
    assert_eq!((second.metrics.fenced_pods.get(), second.metrics.reaped_connections.get()), (1, 1));
}
