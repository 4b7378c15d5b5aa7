//! Unmodified SDKs against `@connections`: boto3, the AWS SDK for JavaScript, the AWS SDK for Rust; and unmodified
//! WebSocket libraries on compressed connections ([`compression`]).
//!
//! Each SDK makes the same calls and must raise the exceptions of its service model. The SDKs for Python and
//! JavaScript are installed into the build directory, in the versions of their lock files. If the installation fails,
//! their test reports that it was skipped; with `TWINWAY_TEST_SDKS` set, for example where the network is known to be
//! available, it fails.

mod compression;
mod rust;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gateway::quotas::RateLimit;
use serde_json::{Value, json};
use shim::config::ManagementAccess;
use tests::conformance::client::{ConformanceClient, HandshakeBuilder, TestSigner};
use tests::conformance::event::EventKind;
use tests::conformance::spec::ApiSpec;
use tests::conformance::wire::WireConnection;
use tests::conformance::world::{Api, CaseWorld};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Duration of the pending handshake during an SDK's calls; the integration timeout is longer.
const HANDSHAKE_DURATION: Duration = Duration::from_secs(25);

/// Credentials of all SDKs.
const KEYS: TestSigner = TestSigner { access_key: "AKIDEXAMPLE", secret: "example" };

/// Connections that an SDK uses, and the task that names their ids.
struct SdkFixture {
    api: Api,
    open: ConformanceClient,
    task: Value,
    signed: ConformanceClient,
    _limited: ConformanceClient,
    /// Never read, so that its outbox fills.
    _slow: ConformanceClient,
    /// Handshake whose `$connect` has not returned.
    _connecting: WireConnection,
}

impl SdkFixture {
    /// Opens a connection, a closed one, one that does not read, and one whose `101` is pending.
    async fn start(world: &CaseWorld) -> anyhow::Result<Self> {
        let spec = ApiSpec::special("a small buffer per connection", |spec| spec.outbox_bytes = Some(256 * 1024));
        let api = world.api(spec).await?;
        let (open, open_id) = api.connect_with_id().await?;
        let (mut gone, gone_id) = api.connect_with_id().await?;
        gone.close(None).await?;
        api.next(EventKind::Disconnect).await?;
        let (slow, slow_id) = api.connect_with_id().await?;
        let (connecting, connecting_id) = connecting(&api).await?;
        let at = |path: &str| format!("http://{}{path}", api.endpoint.authority);
        let (signed_api, signed, signed_id) = signed(world).await?;
        let (limited_api, limited, limited_id) = limited(world).await?;
        let endpoint = |api: &Api| format!("http://{}{}", api.endpoint.authority, api.endpoint.path());
        let task = json!({
            "endpoint": at(&api.endpoint.path()), "otherStage": at("/nowhere"), "open": open_id, "gone": gone_id,
            "slow": slow_id, "connecting": connecting_id, "malformed": "test-connection-123",
            "signedEndpoint": endpoint(&signed_api), "signed": signed_id,
            "limitedEndpoint": endpoint(&limited_api), "limited": limited_id,
        });
        Ok(Self { api, open, task, signed, _limited: limited, _slow: slow, _connecting: connecting })
    }

    /// Checks the results reported by the SDK, and the effects of its calls on the open connection.
    async fn check(mut self, steps: &Value, text: &str) -> anyhow::Result<()> {
        let typed = |code: &str, status: u16| json!({"code": code, "status": status, "typed": true});
        let expected = json!({
            "connecting": typed("GoneException", 410),
            "post": "ok",
            "get": "ok",
            "gone": typed("GoneException", 410),
            "getGone": typed("GoneException", 410),
            "deleteGone": typed("GoneException", 410),
            // The service model has no such exception, so SDKs have no type for it.
            "malformed": {"code": "BadRequestException", "status": 400, "typed": false},
            "tooLarge": typed("PayloadTooLargeException", 413),
            "otherStage": typed("ForbiddenException", 403),
            "slow": typed("LimitExceededException", 429),
            // Nor for signature errors.
            "signed": "ok",
            "wrongSecret": {"code": "InvalidSignatureException", "status": 403, "typed": false},
            "denied": {"code": "AccessDeniedException", "status": 403, "typed": false},
            "limited": typed("LimitExceededException", 429),
            "delete": "ok",
        });
        ensure!(*steps == expected, "the SDK reported {steps:#}");
        ensure!(self.open.text().await? == text, "the client received another text");
        ensure!(self.signed.text().await? == text, "the client of the signed API received another text");
        ensure!(self.open.expect_close().await?.0 == 1000, "the connection was closed with another code");
        let event = self.api.next(EventKind::Disconnect).await?;
        ensure!(event.number("disconnectStatusCode") == 1000, "{}", event.raw);
        Ok(())
    }
}

/// Starts an API whose `@connections` requires signatures, with a policy that allows the SDKs' key to post only.
async fn signed(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let mut spec = ApiSpec::special("signing callers", |spec| spec.management = ManagementAccess::Iam);
    spec.callers = KEYS.allow_action("execute-api:ManageConnections", "arn:*/prod/POST/@connections/*")?;
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// Starts an API whose rate limit allows one call in addition to the handshake.
async fn limited(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let spec = ApiSpec::special("a rate limit", |spec| {
        spec.definition.quotas.request_rate = Some(RateLimit { per_second: 0, burst: 2 });
    });
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// Starts a handshake that stays pending, and returns the id of its future connection.
async fn connecting(api: &Api) -> anyhow::Result<(WireConnection, String)> {
    let mut wire = WireConnection::open(&api.endpoint, api.case_timeout()).await?;
    let dial =
        HandshakeBuilder::new().probe(json!({"connect": {"after": u64::try_from(HANDSHAKE_DURATION.as_millis())?}}));
    wire.send(&dial.request(&api.endpoint)).await?;
    let event = api.next(EventKind::Connect).await?;
    Ok((wire, event.context("connectionId").to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust() {
    let world = CaseWorld::local();
    let fixture = SdkFixture::start(&world).await.unwrap();
    let steps = rust::drive(&fixture.task).await.unwrap();
    fixture.check(&steps, "from Rust").await.unwrap();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3() {
    let Some(directory) = python_packages().await else { return };
    let python = directory.join("venv/bin/python");
    run_program(Command::new(python).arg(source("python/drive.py")), "from boto3").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript() {
    let Some(directory) = javascript_packages().await else { return };
    run_program(Command::new("node").arg(directory.join("drive.mjs")), "from JavaScript").await.unwrap();
}

/// Runs a program that makes the calls, and checks its report.
async fn run_program(program: &mut Command, text: &str) -> anyhow::Result<()> {
    let world = CaseWorld::local();
    let fixture = SdkFixture::start(&world).await?;
    let program = program.arg(fixture.task.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    // Only one of the APIs checks signatures, but SDKs refuse to send calls without credentials.
    program.env("AWS_ACCESS_KEY_ID", KEYS.access_key).env("AWS_SECRET_ACCESS_KEY", KEYS.secret);
    let output = tokio::time::timeout(Duration::from_secs(60), program.output()).await.context("the SDK hangs")??;
    ensure!(output.status.success(), "the program failed: {}", String::from_utf8_lossy(&output.stderr));
    fixture.check(&serde_json::from_slice(&output.stdout)?, text).await?;
    world.close().await;
    Ok(())
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(path)
}

/// Returns the directory of the Python packages, installed by the first caller.
async fn python_packages() -> Option<PathBuf> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    INSTALLED.get_or_init(|| installed("python", install_python)).await.clone()
}

/// Returns the directory of the JavaScript packages, installed by the first caller.
async fn javascript_packages() -> Option<PathBuf> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    INSTALLED.get_or_init(|| installed("javascript", install_javascript)).await.clone()
}

/// Installs an SDK into the build directory; `None`, with a message, if the installation fails.
async fn installed(name: &str, install: fn(&Path) -> Command) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk").join(name);
    std::fs::create_dir_all(&directory).expect("the build directory is writable");
    let output = install(&directory).stdin(Stdio::null()).kill_on_drop(true).output();
    let failure = match tokio::time::timeout(Duration::from_secs(180), output).await {
        Ok(Ok(output)) if output.status.success() => return Some(directory),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the installation took more than three minutes".to_owned(),
    };
    assert!(!required(), "the SDK for {name} could not be installed: {failure}");
    eprintln!("SKIPPED: the SDK for {name} could not be installed, so nothing was checked: {failure}");
    None
}

/// Returns whether a failed installation fails the test.
fn required() -> bool {
    std::env::var_os("TWINWAY_TEST_SDKS").is_some()
}

fn install_python(directory: &Path) -> Command {
    let script = "python3 -m venv venv && venv/bin/python -m pip install --quiet --requirement \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(source("python/requirements.txt")).current_dir(directory);
    command
}

fn install_javascript(directory: &Path) -> Command {
    let script =
        "cp \"$0\"/package.json \"$0\"/package-lock.json \"$0\"/*.mjs . && npm ci --no-audit --no-fund --silent";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(source("javascript")).current_dir(directory);
    command
}
