//! Execution environment of managed runtimes: archives, layers, variables, wrapper scripts, concurrency.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

#[path = "support/interpreters.rs"]
mod interpreters;
mod support;

use std::io::Write as _;

use runtime_api::FunctionCode;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use self::interpreters::{installed, node_major};
use self::support::Project;

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
    project.layers.clear();
    let program = project.resolve("python3.13", "app.handler", FunctionCode::Archive(archive)).unwrap();
    let function = project.start(program);
    assert_eq!(function.failure(json!({})).await.0, "Runtime.ImportModuleError", "without the layers");
    function.0.stop().await;
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
    let mut project =
        Project::new(&[("app.py", "import os\ndef handler(event, context): return os.environ['WRAPPED']\n")]);
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
        assert_eq!(
            (one.unwrap(), two.unwrap()),
            (json!("lambda-managed-instances"), json!("lambda-managed-instances"))
        );
        assert_eq!(function.0.process_count(), 1, "{runtime}");
        function.0.stop().await;
    }
}
