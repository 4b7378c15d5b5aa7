#!/usr/bin/env python3
"""Measures the cold start of the functions: cold_start.py [--under COMMAND] [EXECUTABLE ...]; default: target/*/lambda.
`--under "qemu-aarch64-static -L /usr/aarch64-linux-gnu"` runs arm64 executables on another machine; those times are not
meaningful.

Serves Lambda's Runtime API on a loopback port. Prints per executable: time from process start to the first `/next` request
(the function is ready), time to the response to one event, and resident memory at that point; the median of 15 starts. The
function reaches no AWS service, so the event is one that needs no DynamoDB request.
"""

import argparse
import glob
import http.server
import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time

ROUNDS = 15
PING = {
    "requestContext": {
        "routeKey": "$default", "connectionId": "coldAAAAAAAAAAA=", "connectedAt": 1, "requestTimeEpoch": 1, "identity": {},
        "authorizer": {"userId": "alice", "role": "user", "tenant": "acme"},
    },
    "body": '{"action":"ping"}', "isBase64Encoded": False,
}
ENVIRONMENT = {
    "TWINWAY_CONNECTIONS_TABLE": "connections", "TWINWAY_MESSAGES_TABLE": "messages",
    "TWINWAY_MANAGEMENT_ENDPOINT": "http://127.0.0.1:1/prod",
    "TWINWAY_AUTH_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing-AbCdEf",
    "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s", "RUST_LOG": "off",
}


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        now = time.perf_counter()
        if self.server.first_request is not None:
            self.server.done.wait(10)
            return
        self.server.first_request = now
        body = json.dumps(PING).encode()
        self.send_response(200)
        self.send_header("lambda-runtime-aws-request-id", "1")
        self.send_header("lambda-runtime-deadline-ms", "4102444800000")
        self.send_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        now = time.perf_counter()
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()
        self.server.responded = now
        self.server.response.set()


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Ignores broken connections: a measured function is killed. Reports everything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def start(executable, under):
    server = Server(("127.0.0.1", 0), RuntimeApi)
    server.first_request, server.responded, server.done, server.response = None, None, threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}"}
    started = time.perf_counter()
    child = subprocess.Popen([*under, executable], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not server.response.wait(20):
            sys.exit(f"{executable} did not respond")
        with open(f"/proc/{child.pid}/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
    finally:
        child.kill()
        child.wait()
        server.done.set()
        server.shutdown()
        server.server_close()
    return (server.first_request - started) * 1000, (server.responded - started) * 1000, resident


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--under", type=shlex.split, default=[])
    parser.add_argument("executables", nargs="*")
    arguments = parser.parse_args()
    names = ["authorizer", "connect", "disconnect", "message", "api"]
    found = [path for name in names for path in glob.glob(f"target/*/lambda/{name}") + glob.glob(f"target/lambda/{name}")]
    for executable in arguments.executables or found:
        ready, responded, resident = zip(*(start(executable, arguments.under) for _ in range(ROUNDS)))
        print(
            f"{os.path.basename(executable):12} ready {statistics.median(ready):6.1f} ms, "
            f"first response {statistics.median(responded):6.1f} ms, resident {statistics.median(resident):5.1f} MiB"
        )


if __name__ == "__main__":
    main()
