//! Tests of the standalone probe, as deployed on AWS: a Lambda executable with a DynamoDB table and signed calls of
//! `@connections`, driven only over the network.

use std::time::{Duration, UNIX_EPOCH};

use probes::stage::DirectiveTable;
use tests::conformance::aws_local::{AwsLocalStage, DIRECTIVES, directives};
use tests::conformance::cases;
use tests::conformance::report::{CaseOutcome, CaseVerdict};
use tests::conformance::runner;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_rows_hold_with_the_standalone_probe() {
    let Some(stage) = AwsLocalStage::start().await.unwrap() else { return };
    let report = runner::run(&cases::rows(), &stage.target()).await;
    stage.stop().await;
    println!("{}", report.summary());
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{}: {failures:#?}", report.summary());
    let ran = |outcome: &&CaseOutcome| matches!(outcome.verdict, CaseVerdict::Holds | CaseVerdict::Chosen);
    assert!(report.outcomes.iter().filter(ran).count() > 100, "too few rows ran: {}", report.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_keeps_the_first_directive_until_disconnect() {
    let Some((_database, client)) = directives().await.unwrap() else { return };
    let (table, other) = (
        DirectiveTable::new(client.clone(), DIRECTIVES.to_owned()),
        DirectiveTable::new(client, DIRECTIVES.to_owned()),
    );
    let (now, stored) = (UNIX_EPOCH + Duration::from_secs(1_795_000_000), Some("first".to_owned()));
    assert_eq!(table.get("a=", now).await.unwrap(), None);
    table.put("a=", "first", now).await.unwrap();
    other.put("a=", "second", now).await.unwrap();
    assert_eq!(other.get("a=", now).await.unwrap(), stored);
    assert_eq!(other.get("b=", now).await.unwrap(), None);
    let late = now + Duration::from_secs(3 * 60 * 60);
    assert_eq!(other.get("a=", late).await.unwrap(), None, "expired items are ignored");
    assert_eq!(other.take("a=", now).await.unwrap(), stored);
    assert_eq!(table.take("a=", now).await.unwrap(), None, "only one call takes the directive");
}
