//! `twinway verify`: uses a running messaging application as a client does, from outside: log in, send, reconnect,
//! resume. For container images without a shell, `helm test` and deployments that roll back when it fails.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use handlers::config_value::parse_duration;
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::Clock as _;
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use serde_json::{Value, json};
use system_clock::SystemClock;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::exit::CommandError;
use super::token::{TokenGrant, mint_token};
use super::{CommandIo, ConfigArgs};
use crate::embedded::signing_secret;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway verify --url ws://twinway:8080/prod
  twinway verify --url ws://127.0.0.1:8080/prod --user smoke --timeout 30s

The token is signed with auth.secret: use the same settings as the server. Exit code 0, or 1 with the step that failed.";

/// Lifetime of the token.
const TOKEN_TTL: Duration = Duration::from_secs(5 * 60);

/// Delay before another attempt to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);

/// Server to verify, and the configuration that signs the token.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Address of the WebSocket API, ws://host:port/stage
    #[arg(long)]
    url: String,
    /// User id to log in with
    #[arg(long, default_value = "twinway-verify", value_parser = |text: &str| UserId::parse(text))]
    user: UserId,
    /// Maximum duration of all steps together, such as 10s
    #[arg(long, default_value = "15s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    settings: ConfigArgs,
}

pub(super) fn run_verify(arguments: &VerifyArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let config = arguments.settings.load_valid_config(terminal)?;
    let Some(signing) = signing_secret(&config)? else {
        return Err(CommandError::usage_error(
            "this configuration has no auth.secret to sign a token with; verify through an identity provider is not \
             supported"
                .to_owned(),
        ));
    };
    let grant = TokenGrant {
        user: arguments.user.to_string(),
        role: Role::User,
        tenant: TenantId::default_tenant().to_string(),
        ttl: TOKEN_TTL,
        channels: None,
    };
    let token = mint_token(&signing.secret, grant, &config.auth, system_clock::current_time())
        .map_err(|error| CommandError::internal_error(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::classify_error(error.into()))?;
    let deadline = Instant::now() + arguments.timeout;
    let run = VerificationRun { url: &arguments.url, user: &arguments.user, token: &token, deadline };
    let outcome = runtime.block_on(async { tokio::time::timeout(arguments.timeout, run.execute_steps()).await });
    let failed = |reason: String| CommandError::unhealthy_error(format!("{}: {reason}", arguments.url));
    match outcome {
        Err(_) => Err(failed(format!("not complete within {} s", arguments.timeout.as_secs_f32()))),
        Ok(Err(error)) => Err(failed(errors::chain(&*error).to_string())),
        Ok(Ok(report)) => terminal.print_result(&report),
    }
}

/// Verification of a server by one client.
struct VerificationRun<'a> {
    url: &'a str,
    user: &'a UserId,
    token: &'a str,
    deadline: Instant,
}

impl VerificationRun<'_> {
    /// Logs in, sends a message to the user's own conversation, reconnects, and resumes from before the message.
    async fn execute_steps(&self) -> anyhow::Result<String> {
        let id = format!("verify-{}", SystemClock.fresh_id());
        let started = Instant::now();
        let mut first = self.log_in().await.context("login failed")?;
        let connected = started.elapsed();
        let send = json!({"action": "send", "id": id, "body": {"verify": id}});
        let ack = first.request(&send, "ack").await.context("send failed")?;
        let acknowledged = started.elapsed();
        first.close().await;
        let channel = format!("conversation:{}", self.user.as_str());
        let offset = ack["offset"].as_u64().context("the ack has no offset")?;
        let position = json!({"epoch": ack["epoch"], "offset": offset.saturating_sub(1)});
        let mut second = self.log_in().await.context("second login failed")?;
        let resume = json!({"action": "resume", "id": "resume", "channels": {channel: position}});
        second.send(&resume).await.context("resume failed")?;
        let message = second.frame_of_type("message").await.context("the message was not resumed")?;
        ensure!(message["body"]["verify"] == id.as_str(), "another message was resumed");
        second.frame_of_type("resumed").await.context("resume failed")?;
        second.close().await;
        Ok(format!(
            "login {} ms, acknowledged {} ms, resumed {} ms\n",
            connected.as_millis(),
            acknowledged.as_millis(),
            started.elapsed().as_millis()
        ))
    }

    /// Connects. Repeats attempts that a client would repeat: network policies take effect a moment after the start of
    /// a pod, and a load balancer may not know the server yet.
    async fn log_in(&self) -> anyhow::Result<VerifyClient> {
        loop {
            let mut request =
                self.url.into_client_request().context("--url is not an address like ws://host:8080/prod")?;
            let protocols = HeaderValue::from_str(&format!("twinway.v1, bearer.{}", self.token))?;
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
            let error = match connect_async(request).await {
                Ok((socket, _)) => return Ok(VerifyClient { socket }),
                Err(error) => error,
            };
            if !is_transient(&error) || self.deadline <= Instant::now() + RECONNECT_DELAY {
                return Err(error.into());
            }
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    }
}

/// Returns whether the server may not be reachable yet.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Io(_) => true,
        Error::Http(response) => response.status().is_server_error(),
        _ => false,
    }
}

struct VerifyClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl VerifyClient {
    async fn send(&mut self, frame: &Value) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }

    async fn request(&mut self, frame: &Value, answer: &str) -> anyhow::Result<Value> {
        self.send(frame).await?;
        self.frame_of_type(answer).await
    }

    /// Returns the next frame of this type and ignores others, but an `error` frame fails.
    async fn frame_of_type(&mut self, wanted: &str) -> anyhow::Result<Value> {
        while let Some(message) = self.socket.next().await {
            let Message::Text(text) = message? else { continue };
            let frame: Value = serde_json::from_str(&text)?;
            match frame["type"].as_str() {
                Some(found) if found == wanted => return Ok(frame),
                Some("error") => bail!("the server answered {}", frame["code"]),
                _ => {}
            }
        }
        bail!("the server closed the connection")
    }

    /// Closes the connection. The result of the verification does not depend on it.
    async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while matches!(self.socket.next().await, Some(Ok(_))) {}
    }
}
