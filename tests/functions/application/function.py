"""Function of the tests of applications: records its events and replies with what it received.

    python3 function.py NAME

The file `RECORD` gets a line of JSON per invocation: name, event, and whether it started or ended. A message with the field
`sleep` delays the reply by that number of seconds. Uses the Runtime API without a runtime interface client.
"""

import json
import os
import sys
import time
import urllib.request

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
NAME = sys.argv[1]


def record(phase, event):
    with open(os.environ["RECORD"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"function": NAME, "phase": phase, "event": event}) + "\n")


def policy(event):
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": "alice", "policyDocument": document}


def delay_of(event):
    try:
        return json.loads(event.get("body") or "{}").get("sleep", 0)
    except (ValueError, AttributeError):
        return 0


def handle(event):
    record("started", event)
    time.sleep(delay_of(event))
    record("ended", event)
    if event.get("type") == "REQUEST":
        return policy(event)
    context = event["requestContext"]
    shown = {
        "function": NAME,
        "name": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "team": os.environ.get("TEAM"),
        "memory": os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"],
        "routeKey": event.get("routeKey", context.get("routeKey")),
        "parameters": event.get("pathParameters"),
        "version": event.get("version"),
        "path": event.get("rawPath", event.get("path")),
    }
    return {"statusCode": 200, "body": json.dumps(shown)}


def main():
    while True:
        with urllib.request.urlopen(f"{API}/next") as request:
            request_id, event = request.headers["Lambda-Runtime-Aws-Request-Id"], json.load(request)
        body = json.dumps(handle(event)).encode()
        urllib.request.urlopen(urllib.request.Request(f"{API}/{request_id}/response", data=body)).close()


main()
