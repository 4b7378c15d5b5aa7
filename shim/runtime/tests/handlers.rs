//! Handlers of managed runtimes, in every style, run by the interpreters of this machine.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

#[path = "support/interpreters.rs"]
mod interpreters;
mod support;

use runtime_api::{FunctionCode, ManagedRuntimeError};
use serde_json::{Value, json};

use self::interpreters::{installed, node_major};
use self::support::Project;

/// Name of a case, files, handler.
type HandlerCase = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const CONTEXT_HANDLER: &str = "def handler(event, context):\n    return [context.function_name, context.memory_limit_in_mb, context.invoked_function_arn, context.get_remaining_time_in_millis() > 0]\n";
const VALUES_HANDLER: &str = "import collections, decimal\nPair = collections.namedtuple('Pair', 'a b')\ndef handler(event, context):\n    return {'price': decimal.Decimal('1.50'), 'pair': Pair(1, 'ä'), 'raw': b'x'}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_handlers_of_every_style_answer() {
    let Some(major) = node_major() else { return };
    let styles: [(HandlerCase, Value); 9] = [
        (("async", &[("index.js", "exports.handler = async (event) => event.x + 1")], "index.handler"), json!(2)),
        (("sync", &[("index.js", "exports.handler = () => {}")], "index.handler"), json!(null)),
        (("esm", &[("index.mjs", "export const handler = async () => 'esm'")], "index.handler"), json!("esm")),
        (
            (
                "type module",
                &[
                    ("app.js", "export const handler = async () => import.meta.url.endsWith('app.js')"),
                    ("package.json", r#"{"type":"module"}"#),
                ],
                "app.handler",
            ),
            json!(true),
        ),
        (("cjs", &[("index.cjs", "exports.handler = async () => 'cjs'")], "index.handler"), json!("cjs")),
        (
            ("nested", &[("src/api/app.js", "exports.handler = async () => 'nested'")], "src/api/app.handler"),
            json!("nested"),
        ),
        (
            ("object", &[("index.js", "exports.api = { v1: { run: async () => 'object' } }")], "index.api.v1.run"),
            json!("object"),
        ),
        (
            (
                "context",
                &[(
                    "index.js",
                    "exports.handler = async (event, context) => [context.functionName, context.memoryLimitInMB, context.invokedFunctionArn, context.getRemainingTimeInMillis() > 0]",
                )],
                "index.handler",
            ),
            json!(["tested", "256", "arn:aws:lambda:eu-north-1:123456789012:function:tested", true]),
        ),
        (
            (
                "promise",
                &[(
                    "index.js",
                    "exports.handler = () => new Promise((resolve) => setTimeout(() => resolve('late'), 5))",
                )],
                "index.handler",
            ),
            json!("late"),
        ),
    ];
    for ((name, files, handler), expected) in styles {
        let project = Project::new(files);
        let function = project.start(project.program("nodejs22.x", handler));
        for _ in 0..2 {
            assert_eq!(function.invoke(json!({"x": 1})).await.unwrap(), expected, "{name} on Node.js {major}");
        }
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_handlers_with_callbacks_answer_up_to_version_22() {
    let Some(major) = node_major() else { return };
    let styles: [(HandlerCase, Value); 4] = [
        (
            (
                "callback",
                &[(
                    "index.js",
                    "exports.handler = (event, context, callback) => { setTimeout(() => {}, 5); callback(null, 'done') }",
                )],
                "index.handler",
            ),
            json!("done"),
        ),
        (
            (
                "open loop",
                &[(
                    "index.js",
                    "setInterval(() => {}, 60000); exports.handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; callback(null, 'now') }",
                )],
                "index.handler",
            ),
            json!("now"),
        ),
        (
            (
                "succeed",
                &[(
                    "index.js",
                    "exports.handler = (event, context, callback) => context.succeed('once') ?? context.done(null, 'twice')",
                )],
                "index.handler",
            ),
            json!("once"),
        ),
        (
            (
                "done",
                &[("index.js", "exports.handler = (event, context, callback) => context.done(null, 'done')")],
                "index.handler",
            ),
            json!("done"),
        ),
    ];
    for ((name, files, handler), expected) in styles {
        let project = Project::new(files);
        let function = project.start(project.program("nodejs22.x", handler));
        if major >= 24 {
            assert_eq!(function.failure(json!({})).await.0, "Runtime.CallbackHandlerDeprecated", "{name}");
        } else {
            assert_eq!(function.invoke(json!({})).await.unwrap(), expected, "{name}");
            assert_eq!(function.invoke(json!({})).await.unwrap(), expected, "{name}, again");
        }
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_failures_have_the_error_types_of_lambda() {
    if node_major().is_none() {
        return;
    }
    let failures: [(HandlerCase, &str, &str); 10] = [
        (
            ("throw", &[("index.js", "exports.handler = async () => { throw new TypeError('bad') }")], "index.handler"),
            "TypeError",
            "bad",
        ),
        (
            ("string", &[("index.js", "exports.handler = async () => { throw 'bad' }")], "index.handler"),
            "string",
            "bad",
        ),
        (
            ("import", &[("index.js", "require('no-such-module')")], "index.handler"),
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'no-such-module'",
        ),
        (("file", &[], "index.handler"), "Runtime.ImportModuleError", "Error: Cannot find module 'index'"),
        (
            ("export", &[("index.js", "exports.other = 1")], "index.handler"),
            "Runtime.HandlerNotFound",
            "index.handler is undefined or not exported",
        ),
        (("name", &[("index.js", "")], "handler"), "Runtime.MalformedHandlerName", "Bad handler"),
        (
            ("syntax", &[("index.js", "exports.handler = (")], "index.handler"),
            "Runtime.UserCodeSyntaxError",
            "SyntaxError: Unexpected end of input",
        ),
        (
            (
                "rejection",
                &[(
                    "index.js",
                    "exports.handler = () => { Promise.reject(new Error('lost')); return new Promise((resolve) => setTimeout(resolve, 60000)) }",
                )],
                "index.handler",
            ),
            "Runtime.UnhandledPromiseRejection",
            "Error: lost",
        ),
        (
            ("exit", &[("index.js", "exports.handler = () => process.exit(3)")], "index.handler"),
            "Runtime.ExitError",
            "Runtime exited with error: exit status 3",
        ),
        (
            (
                "stream",
                &[("index.js", "exports.handler = awslambda.streamifyResponse(async () => {})")],
                "index.handler",
            ),
            "Runtime.UnsupportedStreamingHandler",
            "index.handler uses awslambda.streamifyResponse",
        ),
    ];
    for ((name, files, handler), kind, message) in failures {
        let project = Project::new(files);
        let function = project.start(project.program("nodejs22.x", handler));
        let (found_kind, found_message) = function.failure(json!({})).await;
        assert_eq!(found_kind, kind, "{name}: {found_message}");
        assert!(found_message.starts_with(message), "{name}: {found_message}");
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_handlers_of_every_style_answer() {
    if installed("python3", &["--version"]).is_none() {
        return;
    }
    let styles: [(HandlerCase, Value); 6] = [
        (
            ("plain", &[("app.py", "def handler(event, context):\n    return event['x'] + 1\n")], "app.handler"),
            json!(2),
        ),
        (("none", &[("app.py", "def handler(event, context): pass\n")], "app.handler"), json!(null)),
        (("folder", &[("src/app.py", "def run(event, context): return 'folder'\n")], "src/app.run"), json!("folder")),
        (
            (
                "package",
                &[
                    ("api/__init__.py", ""),
                    ("api/app.py", "from api import other\ndef run(event, context): return other.NAME\n"),
                    ("api/other.py", "NAME = 'package'\n"),
                ],
                "api.app.run",
            ),
            json!("package"),
        ),
        (
            ("context", &[("app.py", CONTEXT_HANDLER)], "app.handler"),
            json!(["tested", "256", "arn:aws:lambda:eu-north-1:123456789012:function:tested", true]),
        ),
        (
            ("values", &[("app.py", VALUES_HANDLER)], "app.handler"),
            json!({"price": 1.5, "pair": {"a": 1, "b": "ä"}, "raw": "x"}),
        ),
    ];
    for ((name, files, handler), expected) in styles {
        let project = Project::new(files);
        let function = project.start(project.program("python3.13", handler));
        for _ in 0..2 {
            assert_eq!(function.invoke(json!({"x": 1})).await.unwrap(), expected, "{name}");
        }
        assert!(!project.path("code/__pycache__").exists(), "{name}: no cache is written into the sources");
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_failures_have_the_error_types_of_lambda() {
    if installed("python3", &["--version"]).is_none() {
        return;
    }
    let failures: [(HandlerCase, &str, &str); 8] = [
        (
            ("raise", &[("app.py", "def handler(event, context):\n    return event['x']\n")], "app.handler"),
            "KeyError",
            "'x'",
        ),
        (
            ("import", &[("app.py", "import no_such_module\n")], "app.handler"),
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'no_such_module'",
        ),
        (
            ("export", &[("app.py", "")], "app.handler"),
            "Runtime.HandlerNotFound",
            "Handler 'handler' missing on module 'app'",
        ),
        (("name", &[("app.py", "")], "handler"), "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
        (
            ("syntax", &[("app.py", "def handler(:\n")], "app.handler"),
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app'",
        ),
        (
            ("marshal", &[("app.py", "def handler(event, context): return {1, 2}\n")], "app.handler"),
            "Runtime.MarshalError",
            "Unable to marshal response: Object of type set is not JSON serializable",
        ),
        (("init", &[("app.py", "raise ValueError('at init')\n")], "app.handler"), "ValueError", "at init"),
        (
            ("exit", &[("app.py", "import sys\ndef handler(event, context): sys.exit(3)\n")], "app.handler"),
            "Runtime.ExitError",
            "Runtime exited with error: exit status 3",
        ),
    ];
    for ((name, files, handler), kind, message) in failures {
        let project = Project::new(files);
        let function = project.start(project.program("python3.13", handler));
        let (found_kind, found_message) = function.failure(json!({})).await;
        assert_eq!(found_kind, kind, "{name}: {found_message}");
        assert!(found_message.starts_with(message), "{name}: {found_message}");
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_handlers_answer_through_the_published_client() {
    let program = "package example;\npublic class App {\n  public String handle(java.util.Map<String, Object> event) {
    if (event.isEmpty()) throw new IllegalStateException(\"no event\");
    return \"java \" + event.get(\"x\");\n  }\n}\n";
    let mut project = Project::new(&[]);
    let source = project.write("App.java", program);
    let compiler = std::process::Command::new("javac").arg("-d").arg(project.path("code")).arg(source).status();
    if !compiler.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: javac is not installed, so nothing was checked");
        return;
    }
    project.cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtime-cache");
    let code = FunctionCode::Directory(project.path("code"));
    let program = match project.resolve("java17", "example.App::handle", code) {
        Err(error @ ManagedRuntimeError::ClientNotFound { .. }) => {
            eprintln!("SKIPPED: {error}");
            return;
        }
        program => program.unwrap(),
    };
    let function = project.start(program);
    assert_eq!(function.invoke(json!({"x": 1})).await.unwrap(), "java 1");
    let (kind, message) = function.failure(json!({})).await;
    assert_eq!((&*kind, &*message), ("java.lang.IllegalStateException", "no event"));
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_between_invocations_ends_the_process() {
    if node_major().is_none() {
        return;
    }
    let code = "exports.handler = async () => { setTimeout(() => { throw new Error('late') }, 1); return process.pid }";
    let project = Project::new(&[("index.js", code)]);
    let function = project.start(project.program("nodejs22.x", "index.handler"));
    let first = function.invoke(json!({})).await.unwrap();
    let gone = async {
        while function.0.process_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("the process exits");
    assert_ne!(function.invoke(json!({})).await.unwrap(), first);
    function.0.stop().await;
}
