//! A connection is written down from before its `$connect` until after its `$disconnect`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tests::eventually;
use tests::redis::RedisServer;

use super::world::{Application, Pod, ask, connection_keys};
use shim::connection::ConnectionRegistry as _;

#[tokio::test]
async fn a_connection_is_written_down_for_as_long_as_it_lasts() {
    let (mut server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let handles = pod.connect_many(3).await;
    let [key] = &connection_keys(&server)[..] else { panic!("one pod has one list") };
    assert_eq!(server.run_command(&["HLEN", key]).unwrap(), "3");
    let record = server.run_command(&["HGET", key, handles[0].id.as_str()]).unwrap();
    assert!(record.starts_with("{\"v\":1,"), "{record}");
    for handle in &handles {
        pod.end(handle).await;
        assert_eq!((application.runs(handle.id), application.status(handle.id)), (1, 1005));
    }
    eventually!("the list to be empty", connection_keys(&server).is_empty().then_some(()));
    pod.leave().await;
    assert_eq!((ask(&server, "ZCARD", "leases"), ask(&server, "HLEN", "nodes")), ("0".to_owned(), "0".to_owned()));
    server.kill();
}

#[tokio::test]
async fn a_refused_handshake_gets_no_disconnect_and_one_that_broke_off_gets_one() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let (refused, broken) = (pod.facts(), pod.facts());
    pod.cluster.connection_registry().register(&refused).await.unwrap().mark_rejected();
    drop(pod.cluster.connection_registry().register(&broken).await.unwrap());
    eventually!("the list to be empty", connection_keys(&server).is_empty().then_some(()));
    assert_eq!((application.runs(refused.connection_id), application.runs(broken.connection_id)), (0, 1));
    assert!(pod.cluster.connection_registry().is_empty());
}

#[tokio::test]
async fn a_disconnect_that_failed_runs_again_and_the_connection_stays_written_down_until_then() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let pod = Pod::join(&server, &application).await;
    let handle = pod.connect().await;
    application.failing.store(true, Ordering::SeqCst);
    pod.end(&handle).await;
    assert_eq!(connection_keys(&server).len(), 1, "it is not finished");
    application.failing.store(false, Ordering::SeqCst);
    eventually!("the list to be empty", connection_keys(&server).is_empty().then_some(()));
    assert!(application.runs(handle.id) >= 2);
    assert_eq!(application.status(handle.id), 1005, "the cause stays what it was");
}

#[tokio::test]
async fn what_is_left_at_the_end_is_the_others() {
    let (server, application) = (RedisServer::start().unwrap(), Arc::new(Application::default()));
    let (first, second) = (Pod::join(&server, &application).await, Pod::join(&server, &application).await);
    let handle = first.connect().await;
    first.leave().await;
    eventually!("the other pod to finish it", (application.runs(handle.id) == 1).then_some(()));
    eventually!("the first pod to be forgotten", (ask(&server, "HLEN", "nodes") == "1").then_some(()));
    assert_eq!((second.metrics.fenced_pods.get(), second.metrics.reaped_connections.get()), (1, 1));
}
