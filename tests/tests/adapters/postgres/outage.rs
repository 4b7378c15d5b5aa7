//! PostgreSQL away and back: appends fail fast, the state is told, nothing acknowledged is lost, everything heals by itself.

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

async fn becomes(link: &PostgresClient, up: bool) {
    let mut state = link.link_state();
    let waited = state.wait_for(|state| (*state == LinkState::Available) == up);
    with_timeout("the state of the link", waited).await.expect("the link is there");
}

async fn quick_log(server: &PostgresServer) -> (PostgresClient, PostgresLog) {
    let link = connect(&quick(&server.url())).await;
    let retention = PostgresRetention { max_messages: 10_000, max_age: Duration::from_secs(86_400) };
    (link.clone(), PostgresLog::open_log(link, clock(), retention))
}

/// Appends one after the other; answers what was acknowledged, and how it ended.
async fn append_until_it_fails(log: Arc<PostgresLog>) -> (Vec<u64>, LogError) {
    let mut acknowledged = Vec::new();
    for number in 1.. {
        match log.append(message(&format!("m{number}"))).await {
            Ok(appended) => acknowledged.push(appended.position.offset.0),
            Err(error) => return (acknowledged, error),
        }
    }
    unreachable!("appends end when the server does")
}

#[tokio::test]
async fn a_killed_server_fails_fast_heals_and_keeps_what_was_acknowledged() {
    let mut server = PostgresServer::start().unwrap();
    let (link, log) = quick_log(&server).await;
    let log = Arc::new(log);
    let tasks = TaskTracker::new();
    let appending = tasks.spawn(append_until_it_fails(log.clone()));
    eventually!("some appends", (log.heads(&[lobby()]).await.unwrap()[0].offset.0 >= 50).then_some(()));
    server.kill();
    let (acknowledged, error) = with_timeout("an append to fail", appending).await.unwrap();
    assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");

    eventually!("the breaker to open", {
        let _ = log.append(message("meanwhile")).await;
        (*link.link_state().borrow() != LinkState::Available).then_some(())
    });
    let started = Instant::now();
    for _ in 0..1_000 {
        let refused = log.append(message("meanwhile")).await;
        let Err(LogError::Unavailable(source)) = refused else { panic!("{refused:?}") };
        assert!(
            matches!(source.downcast_ref(), Some(PostgresClientError::CircuitOpen)),
            "an open breaker answers by itself: {source:?}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(1), "1,000 refusals took {:?}", started.elapsed());

    server.restart().unwrap();
    becomes(&link, true).await;
    let (_, kept) = offsets(&log).await;
    assert!(kept.len() >= acknowledged.len(), "{} were acknowledged, {} are there", acknowledged.len(), kept.len());
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>(), "without a hole");
    let again = log.append(message("m1")).await.unwrap();
    assert_eq!((again.position.offset.0, again.duplicate), (1, true), "and known");
    assert_eq!(log.append(message("after")).await.unwrap().position.offset.0, kept.len() as u64 + 1);
}

#[tokio::test]
async fn connections_that_the_server_ends_are_made_anew_unnoticed() {
    let server = PostgresServer::start().unwrap();
    let link = connect(&settings(&server.url())).await;
    let retention = PostgresRetention { max_messages: 10_000, max_age: Duration::from_secs(86_400) };
    let log = PostgresLog::open_log(link.clone(), clock(), retention);
    for round in 1..=5 {
        join_all((0..12).map(|number| log.append(message(&format!("m{round}-{number}"))))).await;
        server
            .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'twinway'")
            .unwrap();
        let first = log.append(message(&format!("m{round}"))).await.unwrap();
        assert!(!first.duplicate, "a repeatable statement does not notice");
    }
    assert_eq!(*link.link_state().borrow(), LinkState::Available);
    assert_eq!(offsets(&log).await.1.len(), 65, "every append took effect once");
}

#[tokio::test]
async fn a_statement_that_waits_too_long_is_given_up_within_the_deadline() {
    let server = PostgresServer::start().unwrap();
    let (_link, log) = quick_log(&server).await;
    log.append(message("m1")).await.unwrap();
    let schema = server.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'test%'").unwrap();
    let hold = format!("BEGIN; SELECT 1 FROM {schema}.channels FOR UPDATE; SELECT pg_sleep(600)");
    let mut holding = server.start_query(&hold).unwrap();
    eventually!("the lock to be held", {
        let waits = server.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").unwrap();
        (waits == "1").then_some(())
    });
    let started = Instant::now();
    let refused = log.append(message("m2")).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "the deadline of 2 s became {:?}", started.elapsed());
    assert_eq!(offsets(&log).await.1, [1], "reads go on");
    holding.kill().unwrap();
    holding.wait().unwrap();
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").unwrap();
    let appended = eventually!("the append to succeed", log.append(message("m2")).await.ok());
    assert_eq!(appended.position.offset.0, 2, "the one that was given up did nothing, or is this one");
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_goes_on_reading() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let log = log(&settings).await;
    log.append(message("m1")).await.unwrap();
    let full = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$";
    server.query(full).unwrap();
    let schema = &settings.schema;
    server
        .query(&format!("CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.messages EXECUTE FUNCTION refuse()"))
        .unwrap();
    let refused = log.append(message("m2")).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    assert_eq!(offsets(&log).await, (1, vec![1]), "reads go on");
    server.query(&format!("DROP TRIGGER full_disk ON {schema}.messages")).unwrap();
    assert_eq!(log.append(message("m2")).await.unwrap().position.offset.0, 2, "nothing was half done");
}

#[tokio::test]
async fn a_replica_is_refused_and_one_that_took_over_begins_another_epoch() {
    let mut server = PostgresServer::start().unwrap();
    let (link, log) = quick_log(&server).await;
    let before = log.append(message("m1")).await.unwrap().position;
    server.demote().unwrap();
    let refused = eventually!("the replica to be noticed", log.append(message("m2")).await.err());
    assert!(matches!(refused, LogError::Unavailable(_)), "{refused:?}");
    becomes(&link, false).await;
    server.promote().unwrap();
    becomes(&link, true).await;
    let after = eventually!("the append to succeed", log.append(message("m2")).await.ok()).position;
    assert_eq!(after.offset.0, 2);
    assert_ne!(after.epoch, before.epoch, "a server that may lack messages is another epoch");
    assert_eq!(log.heads(&[lobby()]).await.unwrap(), [after], "which every answer tells");
}
