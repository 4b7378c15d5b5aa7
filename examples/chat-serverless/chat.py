"""Chat with rooms: the functions of the WebSocket routes."""

import json
import os

import boto3
from boto3.dynamodb.conditions import Key

table = boto3.resource("dynamodb").Table(os.environ["CONNECTIONS_TABLE"])


def connect(event, context):
    request = event["requestContext"]
    table.put_item(Item={"connectionId": request["connectionId"], "user": request["authorizer"]["user"]})
    return {"statusCode": 200}


def disconnect(event, context):
    table.delete_item(Key={"connectionId": event["requestContext"]["connectionId"]})
    return {"statusCode": 200}


def join(event, context):
    room = json.loads(event["body"])["room"]
    table.update_item(
        Key={"connectionId": event["requestContext"]["connectionId"]},
        UpdateExpression="SET room = :room",
        ExpressionAttributeValues={":room": room},
    )
    return {"statusCode": 200, "body": json.dumps({"joined": room})}


def send(event, context):
    request = event["requestContext"]
    endpoint = f"https://{request['domainName']}/{request['stage']}"
    management = boto3.client("apigatewaymanagementapi", endpoint_url=endpoint)
    sender = table.get_item(Key={"connectionId": request["connectionId"]})["Item"]
    message = json.dumps({"from": sender["user"], "text": json.loads(event["body"])["text"]})
    members = table.query(IndexName="room-index", KeyConditionExpression=Key("room").eq(sender["room"]))
    for member in members["Items"]:
        try:
            management.post_to_connection(ConnectionId=member["connectionId"], Data=message.encode())
        except management.exceptions.GoneException:
            table.delete_item(Key={"connectionId": member["connectionId"]})
    return {"statusCode": 200}


def default(event, context):
    return {"statusCode": 400, "body": json.dumps({"error": "the actions are join and send"})}
