//! What the log does beyond its contract: many processes at once, sharing a database, epochs.

use futures_util::future::join_all;
use handlers::channel::Offset;
use handlers::ports::{LogError, LogRange, MessageLog as _};
use tests::postgres::PostgresServer;

use super::{lobby, log, message, offsets, settings};

#[tokio::test]
async fn sixteen_appenders_of_two_processes_share_a_channel_without_holes() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let logs = [log(&settings).await, log(&settings).await];
    let appender = |number: usize| {
        let log = &logs[number % 2];
        async move {
            let mut placed = Vec::new();
            for message_number in 0..25 {
                let appended = log.append(message(&format!("m{number}-{message_number}"))).await.unwrap();
                placed.push((appended.position.offset.0, format!("\"m{number}-{message_number}\"")));
            }
            placed
        }
    };
    let mut placed: Vec<_> = join_all((0..16).map(appender)).await.concat();
    placed.sort();
    let slice = logs[0].read(&lobby(), LogRange::After(Offset::START), 1_000, usize::MAX).await.unwrap();
    let found: Vec<_> = slice.entries.iter().map(|entry| (entry.offset.0, entry.body.get().to_owned())).collect();
    assert_eq!(found, placed, "every one is where its appender was told");
    assert_eq!(offsets(&logs[1]).await, (1, (1..=400).collect()));
}

#[tokio::test]
async fn schemas_of_one_database_see_nothing_of_each_other() {
    let server = PostgresServer::start().unwrap();
    let (here, there) = (log(&settings(&server.url())).await, log(&settings(&server.url())).await);
    here.append(message("m1")).await.unwrap();
    assert_eq!(offsets(&there).await, (1, vec![]));
    assert!(!there.append(message("m1")).await.unwrap().duplicate);
}

#[tokio::test]
async fn an_epoch_stays_through_restarts_until_another_is_begun() {
    let mut server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let first = log(&settings).await.append(message("m1")).await.unwrap().position;
    server.restart().unwrap();
    let log = log(&settings).await;
    assert_eq!(log.heads(&[lobby()]).await.unwrap()[0], first);
    server.query(&format!("SELECT {}.begin_epoch()", settings.schema)).unwrap();
    let told = log.heads(&[lobby()]).await.unwrap().remove(0);
    assert!(told.epoch != first.epoch && told.offset == first.offset, "{told:?}");
}

#[tokio::test]
async fn a_row_that_no_append_wrote_is_told_as_damage() {
    let server = PostgresServer::start().unwrap();
    let settings = settings(&server.url());
    let log = log(&settings).await;
    log.append(message("m1")).await.unwrap();
    server.query(&format!("UPDATE {}.messages SET body = 'no JSON'", settings.schema)).unwrap();
    let read = log.read(&lobby(), LogRange::Before(None), 1, 1_000).await;
    let Err(error @ LogError::Backend { .. }) = read else { panic!("{read:?}") };
    assert!(!format!("{error:?}").contains("no JSON"), "a body was shown: {error:?}");
}
