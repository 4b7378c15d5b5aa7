"""A Lambda function for the route `$default` of a WebSocket API: sends each message back to its sender."""


def message(event, context):
    sender = event["requestContext"]["connectionId"]
    return {"statusCode": 200, "body": f"{sender} sent: {event['body']}"}
