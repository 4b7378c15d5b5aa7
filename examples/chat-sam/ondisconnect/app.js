const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const { DynamoDBDocumentClient, DeleteCommand } = require("@aws-sdk/lib-dynamodb");

const database = DynamoDBDocumentClient.from(new DynamoDBClient({}));

exports.handler = async (event) => {
  const Key = { connectionId: event.requestContext.connectionId };
  await database.send(new DeleteCommand({ TableName: process.env.TABLE_NAME, Key }));
  return { statusCode: 200, body: "Disconnected." };
};
