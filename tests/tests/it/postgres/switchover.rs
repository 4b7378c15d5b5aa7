//! PostgreSQL switchovers: a standby with streaming replication is promoted, and the host name moves to its address.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::client::Client;
use tests::eventually;
use tests::postgres::{PASSWORD, PostgresOptions, PostgresServer, USER};
use tests::server::{ServerLaunch, TwinwayServer};
use tests::world::TokenClaims;
use tokio::time::Instant;

use super::dial;

/// Host name of the database, which the tests move.
const HOST: &str = "database.test";
/// Longest time from the promotion until messages are acknowledged again: a lookup of the name each second, and a health
/// check.
const MAX_INTERRUPTION: Duration = Duration::from_secs(5);

/// Name service of one server: a file that replaces `/etc/hosts` in the server's mount namespace.
struct NameService {
    _directory: TempDir,
    file: PathBuf,
}

impl NameService {
    fn new(primary: &PostgresServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hosts");
        let names = Self { _directory: directory, file };
        names.move_to(primary);
        names
    }

    /// Writes the file in place, because the mount is of the file and not of its name.
    fn move_to(&self, postgres: &PostgresServer) {
        std::fs::write(&self.file, format!("127.0.0.1 localhost\n{} {HOST}\n", postgres.address())).unwrap();
    }

    fn launch(&self, postgres: &PostgresServer) -> ServerLaunch {
        let url = format!("postgres://{USER}:{PASSWORD}@{HOST}:{}/postgres?sslmode=disable", postgres.port());
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let file = self.file.to_str().unwrap();
        TwinwayServer::launch()
            .with_env("TWINWAY_STORAGE_LOG", "postgres")
            .with_env("DATABASE_URL", url)
            .under_program(&["unshare", "--mount", "--map-root-user", "sh", "-c", script, file])
    }
}

/// Sends messages one after the other until `enough` returns true for the answer and the number of acknowledged ones.
/// Returns the acknowledged ids. Every other answer is `unavailable`, and such a message is not repeated.
async fn send_until(client: &mut Client, prefix: &str, mut enough: impl FnMut(&Value, usize) -> bool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let id = format!("{prefix}{number}");
        let answer = client.request(json!({"action": "send", "id": id, "body": number})).await;
        match answer["type"].as_str() {
            Some("ack") => acknowledged.push(id),
            _ => assert_eq!(answer["code"], "unavailable", "{answer}"),
        }
        if enough(&answer, acknowledged.len()) {
            break;
        }
    }
    acknowledged
}

/// Returns the ids of all messages of a channel on a server.
fn stored_ids(postgres: &PostgresServer) -> Vec<String> {
    let stored = postgres.query("SELECT id FROM twinway.messages ORDER BY log_offset").unwrap();
    stored.lines().map(str::to_owned).collect()
}

fn is_ack(answer: &Value, _: usize) -> bool {
    answer["type"] == "ack"
}

async fn check_switchover(postgres: PostgresServer, stops_first: bool) {
    let mut former = postgres;
    let standby = former.start_standby().unwrap();
    eventually!("the standby to stream", former.has_streaming_standby().unwrap().then_some(()));
    let names = NameService::new(&former);
    let server = names.launch(&former).start().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    let mut acknowledged = send_until(&mut alice, "before-", |_, count| count == 200).await;

    if stops_first {
        former.stop().unwrap();
    }
    standby.promote().unwrap();
    let promoted = Instant::now();
    names.move_to(&standby);
    // With a former primary that still runs, the pod writes to it until it follows the name.
    let on_standby = || standby.query("SELECT count(*) FROM twinway.messages WHERE id LIKE 'during-%'").unwrap() != "0";
    acknowledged.extend(send_until(&mut alice, "during-", |answer, count| is_ack(answer, count) && on_standby()).await);
    let interruption = promoted.elapsed();
    acknowledged.extend(send_until(&mut alice, "after-", |_, count| count == 50).await);

    let stored = stored_ids(&standby);
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged messages are lost: {lost:?}", lost.len(), acknowledged.len());
    let mut unique = stored.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), stored.len(), "a message is stored twice");
    assert!(interruption < MAX_INTERRUPTION, "messages were acknowledged again after {interruption:?}");
    println!(
        "acknowledged again {interruption:?} after the promotion, {} of {} stored",
        acknowledged.len(),
        stored.len()
    );
    alice.close().await;
}

#[tokio::test]
async fn a_planned_switchover_loses_no_acknowledged_message() {
    check_switchover(PostgresServer::start().unwrap(), true).await;
}

/// The former primary still runs and accepts connections, but no standby confirms its commits.
#[tokio::test]
async fn a_promotion_next_to_a_running_primary_loses_no_message_that_a_standby_confirmed() {
    let options = PostgresOptions { synchronous_standbys: Some("*".to_owned()), ..PostgresOptions::default() };
    check_switchover(PostgresServer::start_with(options).unwrap(), false).await;
}
