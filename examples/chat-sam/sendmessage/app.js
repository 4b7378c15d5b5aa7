const { ApiGatewayManagementApiClient, PostToConnectionCommand } = require("@aws-sdk/client-apigatewaymanagementapi");
const { DynamoDBClient } = require("@aws-sdk/client-dynamodb");
const { DynamoDBDocumentClient, DeleteCommand, ScanCommand } = require("@aws-sdk/lib-dynamodb");

const TableName = process.env.TABLE_NAME;
const database = DynamoDBDocumentClient.from(new DynamoDBClient({}));

exports.handler = async (event) => {
  const { connectionId, domainName, stage } = event.requestContext;
  const management = new ApiGatewayManagementApiClient({ endpoint: `https://${domainName}/${stage}` });
  const { Items: connections } = await database.send(new ScanCommand({ TableName }));
  const sender = connections.find((connection) => connection.connectionId === connectionId);
  const text = JSON.stringify({ from: sender?.name, data: JSON.parse(event.body).data });

  const post = async ({ connectionId: ConnectionId }) => {
    try {
      await management.send(new PostToConnectionCommand({ ConnectionId, Data: text }));
    } catch (error) {
      if (error.name !== "GoneException") throw error;
      await database.send(new DeleteCommand({ TableName, Key: { connectionId: ConnectionId } }));
    }
  };
  await Promise.all(connections.map(post));
  return { statusCode: 200, body: "Data sent." };
};
