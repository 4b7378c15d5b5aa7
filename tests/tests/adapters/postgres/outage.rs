//! PostgreSQL outages: appends fail fast, the state is reported, no acknowledged message is lost, and the client
//! recovers by itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use handlers::ports::{LogError, MessageLog as _};
use shim::postgres::{
    LinkState, PostgresClient, PostgresClientError, PostgresLog, PostgresRetention, PostgresSettings,
};
use tests::eventually;
use tests::eventually::with_timeout;
use tests::postgres::PostgresServer;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{clock, connect, lobby, log, message, offsets, settings};

fn quick(url: &str) -> PostgresSettings {
    PostgresSettings {
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        ..settings(url)
    }
}

async fn wait_for_state(client: &PostgresClient, up: bool) {
    let mut state = client.link_state();
    let waited = state.wait_for(|state| (*state == LinkState::Available) == up);
    with_timeout("the state of the client", waited).await.expect("the client exists");
}

async fn quick_log(server: &PostgresServer) -> (PostgresClient, PostgresLog) {
    let client = connect(&quick(&server.url())).await;
    let retention = PostgresRetention { max_messages: 10_000, max_age: Duration::from_secs(86_400) };
    (client.clone(), PostgresLog::open_log(client, clock(), retention))
}

/// Appends messages one after the other; returns the acknowledged offsets and the first error.
async fn append_until_it_fails(log: Arc<PostgresLog>) -> (Vec<u64>, LogError) {
    let mut acknowledged = Vec::new();
    for number in 1.. {
        match log.append(message(&format!("m{number}"))).await {
            Ok(appended) => acknowledged.push(appended.position.offset.0),
            Err(error) => return (acknowledged, error),
        }
    }
    unreachable!("appends fail when the server stops")
}

#[tokio::test]
async fn a_killed_server_fails_fast_recovers_and_keeps_acknowledged_messages() {
    let mut server = PostgresServer::start().unwrap();
    let (client, log) = quick_log(&server).await;
    let log = Arc::new(log);
    let tasks = TaskTracker::new();
    let appending = tasks.spawn(append_until_it_fails(log.clone()));
    eventually!("some appends", (log.heads(&[lobby()]).await.unwrap()[0].offset.0 >= 50).then_some(()));
    server.kill();
    let (acknowledged, error) = with_timeout("an append to fail", appending).await.unwrap();
    assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");

    eventually!("the breaker to open", {
        let _ = log.append(message("during-outage")).await;
        (*client.link_state().borrow() != LinkState::Available).then_some(())
    });
    let started = Instant::now();
    for _ in 0..1_000 {
        let rejected = log.append(message("during-outage")).await;
        let Err(LogError::Unavailable(source)) = rejected else { panic!("{rejected:?}") };
        assert!(
            matches!(source.downcast_ref(), Some(PostgresClientError::CircuitOpen)),
            "an open circuit breaker rejects without a request: {source:?}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(1), "1,000 rejections took {:?}", started.elapsed());

    server.restart().unwrap();
    wait_for_state(&client, true).await;
    let (_, kept) = offsets(&log).await;
    assert!(kept.len() >= acknowledged.len(), "{} were acknowledged, {} are stored", acknowledged.len(), kept.len());
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>(), "no offset is missing");
    let again = log.append(message("m1")).await.unwrap();
    assert_eq!((again.position.offset.0, again.duplicate), (1, true), "the id is known");
    assert_eq!(log.append(message("after")).await.unwrap().position.offset.0, kept.len() as u64 + 1);
}

#[tokio::test]
async fn connections_closed_by_the_server_are_replaced_transparently() {
    let server = PostgresServer::start().unwrap();
    let client = connect(&settings(&server.url())).await;
    let retention = PostgresRetention { max_messages: 10_000, max_age: Duration::from_secs(86_400) };
    let log = PostgresLog::open_log(client.clone(), clock(), retention);
    for round in 1..=5 {
        join_all((0..12).map(|number| log.append(message(&format!("m{round}-{number}"))))).await;
        server
            .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'twinway'")
            .unwrap();
        let first = log.append(message(&format!("m{round}"))).await.unwrap();
        assert!(!first.duplicate, "an idempotent statement is repeated transparently");
    }
    assert_eq!(*client.link_state().borrow(), LinkState::Available);
    assert_eq!(offsets(&log).await.1.len(), 65, "every append took effect once");
}

#[tokio::test]
async fn a_statement_that_waits_too_long_fails_within_the_deadline() {
    let server = PostgresServer::start().unwrap();
    let (_link, log) = quick_log(&server).await;
    log.append(message("m1")).await.unwrap();
    let schema = server.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'test%'").unwrap();
    let lock = format!("BEGIN; SELECT 1 FROM {schema}.channels FOR UPDATE; SELECT pg_sleep(600)");
    let mut lock_holder = server.start_query(&lock).unwrap();
    eventually!("the lock to be held", {
        let waits = server.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").unwrap();
        (waits == "1").then_some(())
    });
    let started = Instant::now();
    let rejected = log.append(message("m2")).await;
    assert!(matches!(rejected, Err(LogError::Unavailable(_))), "{rejected:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "the deadline of 2 s became {:?}", started.elapsed());
    assert_eq!(offsets(&log).await.1, [1], "reads continue");
    lock_holder.kill().unwrap();
    lock_holder.wait().unwrap();
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").unwrap();
    let appended = eventually!("the append to succeed", log.append(message("m2")).await.ok());
    assert_eq!(appended.position.offset.0, 2, "the failed append had no effect, or is this one");
}

#[tokio::test]
async fn a_full_disk_rejects_appends_but_not_reads() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let log = log(&settings).await;
    log.append(message("m1")).await.unwrap();
    let full = "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$";
    server.query(full).unwrap();
    let schema = &settings.schema;
    server
        .query(&format!("CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.messages EXECUTE FUNCTION reject()"))
        .unwrap();
    let rejected = log.append(message("m2")).await;
    assert!(matches!(rejected, Err(LogError::Full(_))), "{rejected:?}");
    assert_eq!(offsets(&log).await, (1, vec![1]), "reads continue");
    server.query(&format!("DROP TRIGGER full_disk ON {schema}.messages")).unwrap();
    assert_eq!(log.append(message("m2")).await.unwrap().position.offset.0, 2, "the rejected append had no effect");
}

#[tokio::test]
async fn a_replica_is_rejected_and_a_promoted_one_starts_another_epoch() {
    let mut server = PostgresServer::start().unwrap();
    let (client, log) = quick_log(&server).await;
    let before = log.append(message("m1")).await.unwrap().position;
    server.demote().unwrap();
    let rejected = eventually!("the replica to be detected", log.append(message("m2")).await.err());
    assert!(matches!(rejected, LogError::Unavailable(_)), "{rejected:?}");
    wait_for_state(&client, false).await;
    server.promote().unwrap();
    wait_for_state(&client, true).await;
    let after = eventually!("the append to succeed", log.append(message("m2")).await.ok()).position;
    assert_eq!(after.offset.0, 2);
    assert_ne!(after.epoch, before.epoch, "a promoted server may lack messages, so the epoch changes");
    assert_eq!(log.heads(&[lobby()]).await.unwrap(), [after], "reads return the new epoch");
}
