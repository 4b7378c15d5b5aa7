//! Functions in six languages that post to their client with the SDK of AWS, under the host name of the event and under the
//! one that they build from the id of the API.
//!
//! The packages are installed into the build directory. If a language or its packages are missing, its test reports that
//! it was skipped; with `TWINWAY_TEST_SDKS` set it fails.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually::test_timeout;
use tests::server::{ServerLaunch, TwinwayServer};
use tokio::process::Command;

use super::API_HOST;
use crate::ask;
use crate::isolation::is_root;

/// Maximum time for the installation of a language's packages.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(400);

/// Installs a language's packages with a shell script, whose `$0` is the directory of the sources; returns the directory
/// of the function. `None`, with a message, if the installation fails.
async fn install(language: &str, script: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions/endpoints").join(language);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endpoints").join(language);
    std::fs::create_dir_all(&directory).expect("the build directory is writable");
    let mut command = Command::new("sh");
    command.args(["-ec", &format!("cp \"$0\"/* . && {script}")]).arg(source).current_dir(&directory);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let failure = match tokio::time::timeout(INSTALL_TIMEOUT, output).await {
        Ok(Ok(output)) if output.status.success() => return Some(directory),
        Ok(Ok(output)) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the installation took too long".to_owned(),
    };
    assert!(std::env::var_os("TWINWAY_TEST_SDKS").is_none(), "{language} could not be installed: {failure}");
    eprintln!("SKIPPED: {language} could not be installed, so nothing was checked: {failure}");
    None
}

/// Returns the path of a program that the installation has used.
fn program(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    found.expect("the installation has used it").display().to_string()
}

/// A server without a listener of unsigned calls, whose messages invoke this command line.
fn launch_command(directory: &Path, command: &str) -> ServerLaunch {
    let launch = TwinwayServer::launch().with_env("TWINWAY_FUNCTIONS_MESSAGE", command);
    let launch = launch.with_env("TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "two-way");
    let launch = launch.with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.display());
    launch.with_env("TWINWAY_MANAGEMENT_LISTEN", "off").with_env("TWINWAY_FUNCTIONS_INIT_TIMEOUT", "60s")
}

/// Connects with a timeout that covers the start of a virtual machine on a busy machine.
async fn connect(server: &TwinwayServer) -> ConformanceClient {
    let endpoint = EndpointAddress::parse(&server.socket_url()).unwrap();
    ConformanceClient::open(&endpoint, HandshakeBuilder::new(), test_timeout() * 4).await.unwrap()
}

/// Starts the server, and sends each message; the function posts the text and replies "posted".
async fn check_posts(launch: ServerLaunch, posts: &[(&str, String)]) {
    let mut server = launch.start().await;
    let mut client = connect(&server).await;
    for (message, text) in posts {
        assert_eq!(ask(&mut client, message).await, *text, "{message}");
        assert_eq!(client.text().await.unwrap(), "posted", "{message}");
    }
    server.stop().await;
}

/// Returns the two messages of most functions, with the texts that they post.
fn both(prefix: &str) -> [(&'static str, String); 2] {
    ["domain", "id"].map(|message| (message, format!("{prefix}{API_HOST}/prod")))
}

async fn node() -> Option<PathBuf> {
    let bundle = "node_modules/.bin/esbuild v3.mjs --bundle --platform=node --outfile=bundle.cjs --log-level=error";
    install("javascript", &format!("npm ci --no-audit --no-fund --silent && {bundle}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_posts_from_modules_and_bundles_and_with_other_clients() {
    let Some(directory) = node().await else { return };
    let clients = ("clients", "403 Twinway endpoint ".to_owned());
    for file in ["v3.mjs", "bundle.cjs"] {
        let launch = launch_command(&directory, &format!("{} {file}", program("node")));
        check_posts(launch, &[&both("v3 https://")[..], std::slice::from_ref(&clients)].concat()).await;
    }
    check_posts(launch_command(&directory, &format!("{} v2.cjs", program("node"))), &both("v2 ")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_posts_with_keys_of_the_server_and_with_its_own() {
    let packages = "python3 -m venv venv && venv/bin/python -m pip install --quiet --requirement requirements.txt";
    let Some(directory) = install("python", packages).await else { return };
    let python = directory.join("venv/bin/python");
    let launch = || launch_command(&directory, &format!("{} -m awslambdaric app.handler", python.display()));
    check_posts(launch(), &both("boto3 https://")).await;
    let own_keys = launch().with_env("AWS_ACCESS_KEY_ID", "test").with_env("AWS_SECRET_ACCESS_KEY", "test");
    check_posts(own_keys, &both("boto3 https://")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_posts_with_both_sdks() {
    let Some(directory) = install("go", "go build -o function .").await else { return };
    let launch = launch_command(&directory, &directory.join("function").display().to_string());
    let first = ["v1 domain", "v1 id"].map(|message| (message, format!("go v1 https://{API_HOST}/prod")));
    check_posts(launch, &[both("go v2 https://"), first].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_posts_with_each_http_client() {
    let packages =
        "mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib && javac -cp 'lib/*' -d classes *.java";
    let Some(directory) = install("java", packages).await else { return };
    let launch = launch_command(&directory, &format!("{} -cp classes:lib/* Function", program("java")));
    let others = ["url-connection", "netty"].map(|client| (client, format!("java {client} https://{API_HOST}/prod")));
    check_posts(launch, &[both("java apache https://"), others].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ruby_posts() {
    let Some(directory) = install("ruby", "ruby -e 'require \"aws-sigv4\"'").await else { return };
    check_posts(launch_command(&directory, &format!("{} app.rb", program("ruby"))), &both("ruby https://")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_posts() {
    let launch = || crate::launch();
    let post = format!("post https://{API_HOST}/prod");
    let posts = [(&*post, format!("rust https://{API_HOST}/prod"))];
    check_posts(launch().with_env("TWINWAY_MANAGEMENT_LISTEN", "off"), &posts).await;
    if is_root() {
        // Another user than the server's reads the files.
        check_posts(launch().with_env("TWINWAY_FUNCTIONS_USER", "65534:65534"), &posts).await;
    }
}
