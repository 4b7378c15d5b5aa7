const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const { DynamoDBDocumentClient, PutCommand } = require("@aws-sdk/lib-dynamodb");

const database = DynamoDBDocumentClient.from(new DynamoDBClient({}));

exports.handler = async (event) => {
  const Item = {
    connectionId: event.requestContext.connectionId,
    name: event.queryStringParameters?.name ?? "guest",
  };
  await database.send(new PutCommand({ TableName: process.env.TABLE_NAME, Item }));
  return { statusCode: 200, body: "Connected." };
};
