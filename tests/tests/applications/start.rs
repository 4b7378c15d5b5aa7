//! Start of a server with a template: its errors, and what it does not demand.

use tests::server::TwinwayServer;

use super::Fixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_a_template_name_the_file_and_the_line() {
    let fixture = Fixture::new("[routes]\nsend = \"missing\"\n", &["other"]);
    let exit = fixture.launch().expect_start_failure().await;
    assert_eq!(exit.code, Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("twinway.routes.toml:2:"), "{}", exit.stderr);
    assert!(exit.stderr.contains("missing"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_does_not_exist_is_a_configuration_error() {
    let exit = TwinwayServer::launch().with_env("TWINWAY_TEMPLATE", "no-such-file.toml").expect_start_failure().await;
    assert_eq!(exit.code, Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("api.template") && exit.stderr.contains("no-such-file.toml"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_excludes_the_named_functions() {
    let fixture = Fixture::new("[routes]\n\"$default\" = \"echo\"\n", &["echo"]);
    let exit = fixture.launch().with_env("TWINWAY_FUNCTIONS_MESSAGE", "true").expect_start_failure().await;
    assert_eq!(exit.code, Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("api.template cannot be combined"), "{}", exit.stderr);
}
