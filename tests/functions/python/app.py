"""Functions of a WebSocket API in Python, in their deployed form: an authorizer, `$connect` and messages."""

import json
import logging
import os

logging.getLogger().setLevel(logging.INFO)


def authorize(event, context):
    token = (event["queryStringParameters"] or {}).get("token")
    if token != "let-me-in":
        raise Exception("Unauthorized")
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}
    return {
        "principalId": "ada",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"team": "blue"},
    }


def connect(event, context):
    return {"statusCode": 200}


def message(event, context):
    print(json.dumps({"level": "WARN", "message": "a line of Python"}), flush=True)
    return {
        "statusCode": 200,
        "body": json.dumps(
            {
                "received": event["body"],
                "team": event["requestContext"]["authorizer"]["team"],
                "function": context.function_name,
                "arn": context.invoked_function_arn,
                "inTime": 0 < context.get_remaining_time_in_millis() <= 29000,
                "region": os.environ["AWS_REGION"],
            }
        ),
    }
