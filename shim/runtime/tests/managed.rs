//! Handlers of managed runtimes, in every style, run by the interpreters of this machine.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

mod support;

use std::io::Write as _;

use runtime_api::FunctionCode;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use self::support::Project;

/// Name of a case, files, handler.
type HandlerCase = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Returns the output of an interpreter, or `None`, with a note, when it is not installed.
fn installed(command: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(command).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        _ => {
            assert!(std::env::var_os("TWINWAY_TEST_SDKS").is_none(), "{command} is not installed");
            eprintln!("SKIPPED: {command} is not installed, so nothing was checked");
            None
        }
    }
}

const CONTEXT_HANDLER: &str = "def handler(event, context):\n    return [context.function_name, context.memory_limit_in_mb, context.invoked_function_arn, context.get_remaining_time_in_millis() > 0]\n";
const VALUES_HANDLER: &str = "import collections, decimal\nPair = collections.namedtuple('Pair', 'a b')\ndef handler(event, context):\n    return {'price': decimal.Decimal('1.50'), 'pair': Pair(1, 'ä'), 'raw': b'x'}\n";

fn node_major() -> Option<u32> {
    installed("node", &["-p", "process.versions.node.split('.')[0]"])?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_handlers_of_every_style_answer() {
    let Some(major) = node_major() else { return };
    let styles: [(HandlerCase, Value); 9] = [
        (("async", &[("index.js", "exports.handler = async (event) => event.x + 1")], "index.handler"), json!(2)),
        (("sync", &[("index.js", "exports.handler = () => {}")], "index.handler"), json!(null)),
        (("esm", &[("index.mjs", "export const handler = async () => 'esm'")], "index.handler"), json!("esm")),
        (
            ("type module", &[("app.js", "export const handler = async () => import.meta.url.endsWith('app.js')"), ("package.json", r#"{"type":"module"}"#)], "app.handler"),
            json!(true),
        ),
        (("cjs", &[("index.cjs", "exports.handler = async () => 'cjs'")], "index.handler"), json!("cjs")),
        (("nested", &[("src/api/app.js", "exports.handler = async () => 'nested'")], "src/api/app.handler"), json!("nested")),
        (("object", &[("index.js", "exports.api = { v1: { run: async () => 'object' } }")], "index.api.v1.run"), json!("object")),
        (
            ("context", &[("index.js", "exports.handler = async (event, context) => [context.functionName, context.memoryLimitInMB, context.invokedFunctionArn, context.getRemainingTimeInMillis() > 0]")], "index.handler"),
            json!(["tested", "256", "arn:aws:lambda:eu-north-1:123456789012:function:tested", true]),
        ),
        (("promise", &[("index.js", "exports.handler = () => new Promise((resolve) => setTimeout(() => resolve('late'), 5))")], "index.handler"), json!("late")),
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
        (("callback", &[("index.js", "exports.handler = (event, context, callback) => { setTimeout(() => {}, 5); callback(null, 'done') }")], "index.handler"), json!("done")),
        (
            ("open loop", &[("index.js", "setInterval(() => {}, 60000); exports.handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; callback(null, 'now') }")], "index.handler"),
            json!("now"),
        ),
        (("succeed", &[("index.js", "exports.handler = (event, context, callback) => context.succeed('once') ?? context.done(null, 'twice')")], "index.handler"), json!("once")),
        (("done", &[("index.js", "exports.handler = (event, context, callback) => context.done(null, 'done')")], "index.handler"), json!("done")),
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
        (("throw", &[("index.js", "exports.handler = async () => { throw new TypeError('bad') }")], "index.handler"), "TypeError", "bad"),
        (("string", &[("index.js", "exports.handler = async () => { throw 'bad' }")], "index.handler"), "string", "bad"),
        (("import", &[("index.js", "require('no-such-module')")], "index.handler"), "Runtime.ImportModuleError", "Error: Cannot find module 'no-such-module'"),
        (("file", &[], "index.handler"), "Runtime.ImportModuleError", "Error: Cannot find module 'index'"),
        (("export", &[("index.js", "exports.other = 1")], "index.handler"), "Runtime.HandlerNotFound", "index.handler is undefined or not exported"),
        (("name", &[("index.js", "")], "handler"), "Runtime.MalformedHandlerName", "Bad handler"),
        (("syntax", &[("index.js", "exports.handler = (")], "index.handler"), "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected end of input"),
        (("rejection", &[("index.js", "exports.handler = () => { Promise.reject(new Error('lost')); return new Promise((resolve) => setTimeout(resolve, 60000)) }")], "index.handler"), "Runtime.UnhandledPromiseRejection", "Error: lost"),
        (("exit", &[("index.js", "exports.handler = () => process.exit(3)")], "index.handler"), "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        (("stream", &[("index.js", "exports.handler = awslambda.streamifyResponse(async () => {})")], "index.handler"), "Runtime.UnsupportedStreamingHandler", "index.handler uses awslambda.streamifyResponse"),
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
        (("plain", &[("app.py", "def handler(event, context):\n    return event['x'] + 1\n")], "app.handler"), json!(2)),
        (("none", &[("app.py", "def handler(event, context): pass\n")], "app.handler"), json!(null)),
        (("folder", &[("src/app.py", "def run(event, context): return 'folder'\n")], "src/app.run"), json!("folder")),
        (("package", &[("api/__init__.py", ""), ("api/app.py", "from api import other\ndef run(event, context): return other.NAME\n"), ("api/other.py", "NAME = 'package'\n")], "api.app.run"), json!("package")),
        (("context", &[("app.py", CONTEXT_HANDLER)], "app.handler"), json!(["tested", "256", "arn:aws:lambda:eu-north-1:123456789012:function:tested", true])),
        (("values", &[("app.py", VALUES_HANDLER)], "app.handler"), json!({"price": 1.5, "pair": {"a": 1, "b": "ä"}, "raw": "x"})),
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
        (("raise", &[("app.py", "def handler(event, context):\n    return event['x']\n")], "app.handler"), "KeyError", "'x'"),
        (("import", &[("app.py", "import no_such_module\n")], "app.handler"), "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'no_such_module'"),
        (("export", &[("app.py", "")], "app.handler"), "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        (("name", &[("app.py", "")], "handler"), "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
        (("syntax", &[("app.py", "def handler(:\n")], "app.handler"), "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        (("marshal", &[("app.py", "def handler(event, context): return {1, 2}\n")], "app.handler"), "Runtime.MarshalError", "Unable to marshal response: Object of type set is not JSON serializable"),
        (("init", &[("app.py", "raise ValueError('at init')\n")], "app.handler"), "ValueError", "at init"),
        (("exit", &[("app.py", "import sys\ndef handler(event, context): sys.exit(3)\n")], "app.handler"), "Runtime.ExitError", "Runtime exited with error: exit status 3"),
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
async fn an_archive_finds_the_modules_of_its_layers() {
    if installed("python3", &["--version"]).is_none() || node_major().is_none() {
        return;
    }
    let mut project = Project::new(&[]);
    project.write("layer/python/shared.py", "NAME = 'layer'\n");
    project.write("layer/nodejs/node_modules/shared/package.json", r#"{"name": "shared", "exports": "./main.mjs"}"#);
    project.write("layer/nodejs/node_modules/shared/main.mjs", "export const name = 'layer'");
    project.write("other/python/other.py", "NAME = 'other'\n");
    project.layers = vec![project.path("layer"), project.path("other")];
    let archive = project.path("code.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    let python = "import other, shared\ndef handler(event, context): return shared.NAME + other.NAME\n";
    let node = "import { name } from 'shared'; export const handler = async () => name;";
    for (name, text) in [("app.py", python), ("index.mjs", node)] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    for (runtime, handler, expected) in
        [("python3.13", "app.handler", json!("layerother")), ("nodejs22.x", "index.handler", json!("layer"))]
    {
        let program = project.resolve(runtime, handler, FunctionCode::Archive(archive.clone())).unwrap();
        let function = project.start(program);
        assert_eq!(function.invoke(json!({})).await.unwrap(), expected, "{runtime}");
        function.0.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_have_the_environment_of_lambda() {
    if installed("python3", &["--version"]).is_none() {
        return;
    }
    let code = "import os, urllib.error, urllib.request
def handler(event, context):
    url = 'http://%s/2026-01-15/metadata/execution-environment' % os.environ['AWS_LAMBDA_METADATA_API']
    def get(token):
        try:
            request = urllib.request.Request(url, headers={'Authorization': 'Bearer ' + token})
            return urllib.request.urlopen(request).read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code
    return {'env': dict(os.environ), 'metadata': get(os.environ['AWS_LAMBDA_METADATA_TOKEN']), 'forged': get('x')}
";
    let mut project = Project::new(&[("app.py", code)]);
    project.environment.insert("PYTHONPATH".to_owned(), "/opt/mine".to_owned());
    let function = project.start(project.program("python3.13", "app.handler"));
    let root = "Root=1-673c3900-0123456789abcdef01234567";
    let answer = function.0.invoke_in_trace("{}".into(), Some(root)).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let variable = |name: &str| answer["env"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(variable("AWS_EXECUTION_ENV"), "AWS_Lambda_python3.13");
    assert_eq!(variable("AWS_LAMBDA_INITIALIZATION_TYPE"), "on-demand");
    assert_eq!(variable("AWS_LAMBDA_LOG_FORMAT"), "Text");
    assert!(variable("_X_AMZN_TRACE_ID").starts_with(&format!("{root};Parent=")));
    assert!(variable("PYTHONPATH").starts_with("/opt/mine:/opt/python/lib/python3."));
    let stream = variable("AWS_LAMBDA_LOG_STREAM_NAME");
    let (day, id) = stream.split_once("/[$LATEST]").unwrap();
    assert!(day.len() == "2026/11/30".len() && day.starts_with("20") && id.len() == 32, "{stream}");
    assert_eq!(answer["metadata"], r#"{"AvailabilityZoneID":"eun1-az2"}"#);
    assert_eq!(answer["forged"], 401);
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapper_script_starts_the_runtime() {
    if installed("python3", &["--version"]).is_none() {
        return;
    }
    let mut project = Project::new(&[("app.py", "import os\ndef handler(event, context): return os.environ['WRAPPED']\n")]);
    project.write("layer/wrapper", "#!/bin/sh\nexport WRAPPED=\"$(basename \"$3\" | cut -d. -f1)\"\nexec \"$@\"\n");
    project.layers = vec![project.path("layer")];
    project.environment.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/opt/wrapper".to_owned());
    let function = project.start(project.program("python3.13", "app.handler"));
    assert_eq!(function.invoke(json!({})).await.unwrap(), "app");
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_runs_concurrent_invocations() {
    if installed("python3", &["--version"]).is_none() || node_major().is_none() {
        return;
    }
    let python = "import os\ndef handler(event, context):\n    open(os.environ['PIPE'], event['mode']).close()\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n";
    let node = "let release; const both = new Promise((resolve) => { release = resolve });
        exports.handler = async (event) => { if (event.mode === 'w') release(); await both; return process.env.AWS_LAMBDA_INITIALIZATION_TYPE }";
    let mut project = Project::new(&[("app.py", python), ("index.js", node)]);
    let pipe = project.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    project.environment.insert("PIPE".to_owned(), pipe.display().to_string());
    project.limits.concurrency = 2;
    for (runtime, handler) in [("python3.13", "app.handler"), ("nodejs22.x", "index.handler")] {
        let function = project.start(project.program(runtime, handler));
        let (one, two) = tokio::join!(function.invoke(json!({"mode": "r"})), function.invoke(json!({"mode": "w"})));
        assert_eq!((one.unwrap(), two.unwrap()), (json!("lambda-managed-instances"), json!("lambda-managed-instances")));
        assert_eq!(function.0.process_count(), 1, "{runtime}");
        function.0.stop().await;
    }
}
