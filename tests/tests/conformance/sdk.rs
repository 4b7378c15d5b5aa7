//! SDKs as they are against `@connections`: boto3, the AWS SDK for JavaScript, the AWS SDK for Rust. WebSocket libraries
//! as they are against compressed connections ([`compression`]).
//!
//! Each makes the same calls and has to raise the exceptions that its service model names. The SDKs for Python and
//! JavaScript are installed into the build directory, at the versions of their lock files; where that is not possible their
//! test says so and checks nothing, unless `TWINWAY_TEST_SDKS` is set, as it is where the network is known to be there.

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

/// How long an SDK may hold up a handshake; the integration timeout is longer.
const CONNECTING: Duration = Duration::from_secs(25);

/// The keys that all SDKs sign with.
const KEYS: TestSigner = TestSigner { access_key: "AKIDEXAMPLE", secret: "example" };

/// The connections that an SDK is given, and the ids by which it knows them.
struct Stage {
    api: Api,
    open: ConformanceClient,
    task: Value,
    signed: ConformanceClient,
    _limited: ConformanceClient,
    /// Open as long as the stage is, never read.
    _slow: ConformanceClient,
    /// A handshake that `$connect` has not decided.
    _connecting: WireConnection,
}

impl Stage {
    /// An open connection, one that is gone, one that does not read, and one that waits for its `101`.
    async fn set(world: &CaseWorld) -> anyhow::Result<Self> {
        let spec = ApiSpec::special("a small buffer per connection", |spec| spec.outbox_bytes = Some(256 * 1024));
        let api = world.api(spec).await?;
        let (open, open_id) = api.connect_with_id().await?;
        let (mut gone, gone_id) = api.connect_with_id().await?;
        gone.close(None).await?;
        api.next(EventKind::Disconnect).await?;
        let (slow, slow_id) = api.connect_with_id().await?;
        let (connecting, connecting_id) = connecting(&api).await?;
        let at = |path: &str| format!("http://{}{path}", api.place.authority);
        let (signed_api, signed, signed_id) = signed(world).await?;
        let (limited_api, limited, limited_id) = limited(world).await?;
        let stage = |api: &Api| format!("http://{}{}", api.place.authority, api.place.path());
        let task = json!({
            "endpoint": at(&api.place.path()), "otherStage": at("/nowhere"), "open": open_id, "gone": gone_id,
            "slow": slow_id, "connecting": connecting_id, "malformed": "test-connection-123",
            "signedEndpoint": stage(&signed_api), "signed": signed_id,
            "limitedEndpoint": stage(&limited_api), "limited": limited_id,
        });
        Ok(Self { api, open, task, signed, _limited: limited, _slow: slow, _connecting: connecting })
    }

    /// Checks what the SDK reported, and what its calls did to the open connection.
    async fn check(mut self, steps: &Value, said: &str) -> anyhow::Result<()> {
        let typed = |code: &str, status: u16| json!({"code": code, "status": status, "typed": true});
        let expected = json!({
            "connecting": typed("GoneException", 410),
            "post": "ok",
            "get": "ok",
            "gone": typed("GoneException", 410),
            "getGone": typed("GoneException", 410),
            "deleteGone": typed("GoneException", 410),
            // The service model names no such exception, so no SDK has a type for it.
            "malformed": {"code": "BadRequestException", "status": 400, "typed": false},
            "tooLarge": typed("PayloadTooLargeException", 413),
            "otherStage": typed("ForbiddenException", 403),
            "slow": typed("LimitExceededException", 429),
            // Nor for what a signature can be wrong in.
            "signed": "ok",
            "wrongSecret": {"code": "InvalidSignatureException", "status": 403, "typed": false},
            "denied": {"code": "AccessDeniedException", "status": 403, "typed": false},
            "limited": typed("LimitExceededException", 429),
            "delete": "ok",
        });
        ensure!(*steps == expected, "the SDK reported {steps:#}");
        ensure!(self.open.text().await? == said, "the client got another text");
        ensure!(self.signed.text().await? == said, "the client of the signed API got another text");
        ensure!(self.open.expect_close().await?.0 == 1000, "the client was closed otherwise");
        let event = self.api.next(EventKind::Disconnect).await?;
        ensure!(event.number("disconnectStatusCode") == 1000, "{}", event.raw);
        Ok(())
    }
}

/// An API whose `@connections` asks for signatures, and where the keys of all these SDKs may post and nothing else.
async fn signed(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let mut spec = ApiSpec::special("callers who sign", |spec| spec.management = ManagementAccess::Iam);
    spec.callers = KEYS.allow_action("execute-api:ManageConnections", "arn:*/prod/POST/@connections/*")?;
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// An API that takes one call beside the handshake.
async fn limited(world: &CaseWorld) -> anyhow::Result<(Api, ConformanceClient, String)> {
    let spec = ApiSpec::special("a rate of its own", |spec| {
        spec.definition.quotas.request_rate = Some(RateLimit { per_second: 0, burst: 2 });
    });
    let api = world.api(spec).await?;
    let (client, id) = api.connect_with_id().await?;
    Ok((api, client, id))
}

/// Begins a handshake that stays undecided, and gives the id that its connection will have.
async fn connecting(api: &Api) -> anyhow::Result<(WireConnection, String)> {
    let mut wire = WireConnection::open(&api.place, api.case_timeout()).await?;
    let dial = HandshakeBuilder::new().probe(json!({"connect": {"after": u64::try_from(CONNECTING.as_millis())?}}));
    wire.send(&dial.request(&api.place)).await?;
    let event = api.next(EventKind::Connect).await?;
    Ok((wire, event.context("connectionId").to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust() {
    let world = CaseWorld::local();
    let stage = Stage::set(&world).await.unwrap();
    let steps = rust::drive(&stage.task).await.unwrap();
    stage.check(&steps, "from Rust").await.unwrap();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3() {
    let Some(directory) = python_packages().await else { return };
    let python = directory.join("venv/bin/python");
    driven(Command::new(python).arg(source("python/drive.py")), "from boto3").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript() {
    let Some(directory) = javascript_packages().await else { return };
    driven(Command::new("node").arg(directory.join("drive.mjs")), "from JavaScript").await.unwrap();
}

/// Lets a program make the calls, and checks what it reports.
async fn driven(program: &mut Command, said: &str) -> anyhow::Result<()> {
    let world = CaseWorld::local();
    let stage = Stage::set(&world).await?;
    let program = program.arg(stage.task.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    // Only one of the APIs looks at the signature, but the SDKs sign nothing without keys.
    program.env("AWS_ACCESS_KEY_ID", KEYS.access_key).env("AWS_SECRET_ACCESS_KEY", KEYS.secret);
    let output = tokio::time::timeout(Duration::from_secs(60), program.output()).await.context("the SDK hangs")??;
    ensure!(output.status.success(), "the program failed: {}", String::from_utf8_lossy(&output.stderr));
    stage.check(&serde_json::from_slice(&output.stdout)?, said).await?;
    world.close().await;
    Ok(())
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(path)
}

/// Where Python's packages are; installed once, whichever test needs them first.
async fn python_packages() -> Option<PathBuf> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    INSTALLED.get_or_init(|| installed("python", install_python)).await.clone()
}

/// Where JavaScript's packages are; installed once, whichever test needs them first.
async fn javascript_packages() -> Option<PathBuf> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    INSTALLED.get_or_init(|| installed("javascript", install_javascript)).await.clone()
}

/// Installs an SDK into the build directory; `None`, and loud, where that is not possible.
async fn installed(name: &str, install: fn(&Path) -> Command) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk").join(name);
    std::fs::create_dir_all(&directory).expect("the build directory is there and writable while tests run");
    let output = install(&directory).stdin(Stdio::null()).kill_on_drop(true).output();
    let failure = match tokio::time::timeout(Duration::from_secs(180), output).await {
        Ok(Ok(output)) if output.status.success() => return Some(directory),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took more than three minutes".to_owned(),
    };
    assert!(!required(), "the SDK for {name} could not be installed: {failure}");
    eprintln!("SKIPPED: the SDK for {name} could not be installed, so nothing was checked: {failure}");
    None
}

/// Whether an SDK that cannot be installed is a failure.
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
