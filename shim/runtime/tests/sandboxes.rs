//! Life cycle of sandboxes: repeated initialization, replacement, extensions, misbehaving functions.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

mod support;

use std::time::Duration;

use serde_json::json;
use tokio_util::task::TaskTracker;

use self::support::Project;

/// Hangs in its first initializations, as many as `HANGS` says.
const SLOW_INIT: &str = "import os, threading
count = len(os.listdir(os.environ['STARTS']))
open(os.path.join(os.environ['STARTS'], str(count)), 'w').close()
if count < int(os.environ['HANGS']):
    threading.Event().wait()
def handler(event, context):
    return count
";

fn slow_project(hangs: &str) -> Project {
    let mut project = Project::new(&[("app.py", SLOW_INIT)]);
    std::fs::create_dir(project.path("starts")).unwrap();
    project.environment.insert("STARTS".to_owned(), project.path("starts").display().to_string());
    project.environment.insert("HANGS".to_owned(), hangs.to_owned());
    project.limits.init_timeout = Duration::from_secs(2);
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_initialization_over_its_timeout_is_repeated_within_the_invocation() {
    let project = slow_project("1");
    let function = project.start(project.program("python3.13", "app.handler"));
    assert_eq!(function.invoke(json!({})).await.unwrap(), 1, "the second process answers");
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_initialization_has_the_timeout_of_the_function() {
    let mut project = slow_project("9");
    project.limits.timeout = Duration::from_secs(2);
    let function = project.start(project.program("python3.13", "app.handler"));
    assert_eq!(function.failure(json!({})).await.0, "the function timed out");
    assert_eq!(std::fs::read_dir(project.path("starts")).unwrap().count(), 2);
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaving_functions_have_the_outcome_of_lambda() {
    let code = "import os, socket, subprocess, sys
if os.environ.get('EXIT'):
    sys.exit(7)
def handler(event, context):
    kind = event['kind']
    if kind == 'large':
        return 'x' * (7 * 1024 * 1024)
    if kind == 'garbage':
        host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
        socket.create_connection((host, int(port))).sendall(os.urandom(1000))
        return b'\\xff garbage'
    if kind == 'child':
        subprocess.Popen(['sleep', '600'])
    if kind == 'hang':
        subprocess.run(['sleep', '600'])
    return os.getpid()
";
    let mut project = Project::new(&[("app.py", code)]);
    project.limits.timeout = Duration::from_secs(3);
    let function = project.start(project.program("python3.13", "app.handler"));
    let first = function.invoke(json!({"kind": "child"})).await.unwrap();
    let (kind, message) = function.failure(json!({"kind": "large"})).await;
    assert_eq!(kind, "Function.ResponseSizeTooLarge", "{message}");
    assert_eq!(function.invoke(json!({"kind": "garbage"})).await.unwrap(), "\u{fffd} garbage");
    assert_eq!(function.invoke(json!({"kind": ""})).await.unwrap(), first, "the process is still the same");
    assert_eq!(function.failure(json!({"kind": "hang"})).await.0, "the function timed out");
    assert_ne!(function.invoke(json!({"kind": ""})).await.unwrap(), first, "the process was killed");
    function.0.stop().await;

    project.environment.insert("EXIT".to_owned(), "1".to_owned());
    let function = project.start(project.program("python3.13", "app.handler"));
    let expected = ("Runtime.ExitError".to_owned(), "Runtime exited with error: exit status 7".to_owned());
    assert_eq!(function.failure(json!({})).await, expected);
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_program_finishes_its_invocations_and_receives_no_others() {
    let code = "import os\ndef handler(event, context):\n    if event.get('wait'):\n        open(os.environ['STARTED'], 'w').close()\n        open(os.environ['RELEASE']).read()\n    return 'old'\n";
    let mut project = Project::new(&[("app.py", code), ("new.py", "def handler(event, context): return 'new'\n")]);
    for name in ["started", "release"] {
        let pipe = project.path(name);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        project.environment.insert(name.to_ascii_uppercase(), pipe.display().to_string());
    }
    let function = project.start(project.program("python3.13", "app.handler"));
    let (tasks, invoked) = (TaskTracker::new(), function.clone());
    let running = tasks.spawn(async move { invoked.invoke(json!({"wait": true})).await });
    tokio::fs::read(project.path("started")).await.unwrap();
    function.0.replace_program(project.program("python3.13", "new.handler"));
    assert_eq!(function.invoke(json!({})).await.unwrap(), "new");
    assert_eq!(function.0.process_count(), 2);
    tokio::fs::write(project.path("release"), "").await.unwrap();
    assert_eq!(running.await.unwrap().unwrap(), "old");
    let gone = async {
        while function.0.process_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the old process exits");
    assert_eq!(function.invoke(json!({})).await.unwrap(), "new");
    function.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_extensions_run_as_long_as_the_sandbox() {
    let extension = "#!/usr/bin/env python3
import http.client, json, os
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, body=None, headers={}):
    api.request(method, '/2020-01-01/extension/' + path, body, headers)
    response = api.getresponse()
    return response.headers, json.loads(response.read())
headers, _ = call('POST', 'register', json.dumps({'events': ['INVOKE', 'SHUTDOWN']}), {'Lambda-Extension-Name': 'agent'})
identifier = {'Lambda-Extension-Identifier': headers['Lambda-Extension-Identifier']}
event = {}
while event.get('eventType') != 'SHUTDOWN':
    event = call('GET', 'event/next', headers=identifier)[1]
    with open(os.environ['EVENTS'], 'a') as file:
        file.write(event['eventType'] + '\\n')
";
    let mut project = Project::new(&[("app.py", "def handler(event, context): return 'ok'\n")]);
    project.write("layer/extensions/agent", extension);
    project.layers = vec![project.path("layer")];
    project.environment.insert("EVENTS".to_owned(), project.path("events").display().to_string());
    let function = project.start(project.program("python3.13", "app.handler"));
    assert_eq!(function.invoke(json!({})).await.unwrap(), "ok");
    function.0.stop().await;
    assert_eq!(std::fs::read_to_string(project.path("events")).unwrap(), "INVOKE\nSHUTDOWN\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_exits_fails_the_start() {
    let mut project = Project::new(&[("app.py", "def handler(event, context): return 'ok'\n")]);
    project.write("layer/extensions/broken", "#!/bin/sh\nexit 1\n");
    project.layers = vec![project.path("layer")];
    let function = project.start(project.program("python3.13", "app.handler"));
    let (kind, message) = function.failure(json!({})).await;
    assert_eq!((&*kind, &*message), ("Extension.Crash", "extension broken: it exited before it was registered"));
    function.0.stop().await;
}
