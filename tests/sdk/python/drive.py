"""Calls @connections with unmodified boto3, and prints the result of each step as JSON.

The argument is JSON: endpoints (default, another stage, signed, rate-limited) and connection ids by role. The result of a step is
"ok", or the exception's code and status, and whether boto3 raised it as the type of its service model.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TASK = json.loads(sys.argv[1])
CONFIG = Config(retries={"total_max_attempts": 1})


def connect(endpoint, **keys):
    region = {"region_name": "us-east-1", "config": CONFIG}
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, **region, **keys)


def outcome(client, call):
    try:
        call()
        return "ok"
    except ClientError as error:
        code = error.response["Error"]["Code"]
        typed = getattr(client.exceptions, code, None) if code in dir(client.exceptions) else None
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return {"code": code, "status": status, "typed": typed is not None and isinstance(error, typed)}


def fill(client, role):
    for _ in range(400):
        client.post_to_connection(ConnectionId=TASK[role], Data=b"x" * 100_000)


def describe(client):
    answer = client.get_connection(ConnectionId=TASK["open"])
    assert answer["ConnectedAt"].year >= 2024 and answer["LastActiveAt"] >= answer["ConnectedAt"], answer
    assert answer["Identity"]["SourceIp"] == "127.0.0.1", answer


def main():
    standard, other_stage = connect(TASK["endpoint"]), connect(TASK["otherStage"])
    signed, limited = connect(TASK["signedEndpoint"]), connect(TASK["limitedEndpoint"])
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "another"}
    wrong = connect(TASK["signedEndpoint"], **keys)

    def post(client, role, data=b"from boto3"):
        return lambda: client.post_to_connection(ConnectionId=TASK[role], Data=data)

    steps = {
        "connecting": outcome(standard, post(standard, "connecting")),
        "post": outcome(standard, post(standard, "open")),
        "get": outcome(standard, lambda: describe(standard)),
        "gone": outcome(standard, post(standard, "gone")),
        "getGone": outcome(standard, lambda: standard.get_connection(ConnectionId=TASK["gone"])),
        "deleteGone": outcome(standard, lambda: standard.delete_connection(ConnectionId=TASK["gone"])),
        "malformed": outcome(standard, post(standard, "malformed")),
        "tooLarge": outcome(standard, post(standard, "open", b"x" * (128 * 1024 + 1))),
        "otherStage": outcome(other_stage, post(other_stage, "open")),
        "slow": outcome(standard, lambda: fill(standard, "slow")),
        "signed": outcome(signed, post(signed, "signed")),
        "wrongSecret": outcome(wrong, post(wrong, "signed")),
        "denied": outcome(signed, lambda: signed.delete_connection(ConnectionId=TASK["signed"])),
        "limited": outcome(limited, lambda: fill(limited, "limited")),
        "delete": outcome(standard, lambda: standard.delete_connection(ConnectionId=TASK["open"])),
    }
    print(json.dumps(steps))


main()
