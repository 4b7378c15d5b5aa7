//! Properties of the log beyond its contract: concurrent processes, shared databases, epochs.

use futures_util::future::join_all;
use handlers::channel::Offset;
use handlers::ports::{LogError, LogRange, MessageLog as _};
use tests::postgres::PostgresServer;

use super::{lobby, log, message, offsets, settings};

#[tokio::test]
async fn sixteen_appenders_of_two_processes_leave_no_gaps_in_a_channel() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let logs = [log(&settings).await, log(&settings).await];
    let appender = |number: usize| {
        let log = &logs[number % 2];
        async move {
            let mut appended_entries = Vec::new();
            for message_number in 0..25 {
                let appended = log.append(message(&format!("m{number}-{message_number}"))).await.unwrap();
                appended_entries.push((appended.position.offset.0, format!("\"m{number}-{message_number}\"")));
            }
            appended_entries
        }
    };
    let mut appended_entries: Vec<_> = join_all((0..16).map(appender)).await.concat();
    appended_entries.sort();
    let slice = logs[0].read(&lobby(), LogRange::After(Offset::START), 1_000, usize::MAX).await.unwrap();
    let found: Vec<_> = slice.entries.iter().map(|entry| (entry.offset.0, entry.body.get().to_owned())).collect();
    assert_eq!(found, appended_entries, "every message has the offset of its acknowledgement");
    assert_eq!(offsets(&logs[1]).await, (1, (1..=400).collect()));
}

#[tokio::test]
async fn schemas_of_one_database_are_isolated() {
    let server = PostgresServer::start().unwrap();
    let (first, second) = (log(&settings(&server.url())).await, log(&settings(&server.url())).await);
    first.append(message("m1")).await.unwrap();
    assert_eq!(offsets(&second).await, (1, vec![]));
    assert!(!second.append(message("m1")).await.unwrap().duplicate);
}

#[tokio::test]
async fn an_epoch_survives_restarts_until_another_starts() {
    let mut server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let before = log(&settings).await.append(message("m1")).await.unwrap().position;
    server.restart().unwrap();
    let log = log(&settings).await;
    assert_eq!(log.heads(&[lobby()]).await.unwrap()[0], before);
    server.query(&format!("SELECT {}.start_epoch()", settings.schema)).unwrap();
    let head = log.heads(&[lobby()]).await.unwrap().remove(0);
    assert!(head.epoch != before.epoch && head.offset == before.offset, "{head:?}");
}

#[tokio::test]
async fn a_row_not_written_by_an_append_is_reported_as_damage() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let log = log(&settings).await;
    log.append(message("m1")).await.unwrap();
    server.query(&format!("UPDATE {}.messages SET body = 'no JSON'", settings.schema)).unwrap();
    let read = log.read(&lobby(), LogRange::Before(None), 1, 1_000).await;
    let Err(error @ LogError::Backend { .. }) = read else { panic!("{read:?}") };
    assert!(!format!("{error:?}").contains("no JSON"), "the error contains a body: {error:?}");
}
