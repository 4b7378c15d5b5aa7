"""Lambda authorizer of the handshake: accepts tokens of the form `user.signature`."""

import hashlib
import hmac
import os
import sys


def signature(user):
    return hmac.new(os.environ["TOKEN_SECRET"].encode(), user.encode(), hashlib.sha256).hexdigest()


def handler(event, context):
    user, _, given = event["queryStringParameters"]["token"].rpartition(".")
    if not user or not hmac.compare_digest(given, signature(user)):
        # API Gateway answers this text with 401.
        raise Exception("Unauthorized")
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}
    return {
        "principalId": user,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"user": user},
    }


if __name__ == "__main__":
    print(f"{sys.argv[1]}.{signature(sys.argv[1])}")
