import {
  ApiGatewayManagementApiClient,
  GoneException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";

const ok = { statusCode: 200 };
let client;

async function post(event, connection, message) {
  const { domainName, stage } = event.requestContext;
  client ??= new ApiGatewayManagementApiClient({ endpoint: `https://${domainName}/${stage}` });
  await client.send(new PostToConnectionCommand({ ConnectionId: connection, Data: JSON.stringify(message) }));
}

export const connect = async (event) => {
  console.log("connected", event.requestContext.connectionId);
  return ok;
};

export const disconnect = async (event) => {
  const { connectionId, disconnectStatusCode } = event.requestContext;
  console.log("disconnected", connectionId, disconnectStatusCode);
  return ok;
};

export const help = async (event) => {
  await post(event, event.requestContext.connectionId, { error: "send an object with the action whoami or send" });
  return ok;
};

export const whoami = async (event) => {
  const { connectionId } = event.requestContext;
  await post(event, connectionId, { you: connectionId });
  return ok;
};

export const send = async (event) => {
  const sender = event.requestContext.connectionId;
  const { to, text } = JSON.parse(event.body);
  try {
    await post(event, to, { from: sender, text });
  } catch (error) {
    if (!(error instanceof GoneException)) throw error;
    await post(event, sender, { error: `${to} is not connected` });
  }
  return ok;
};
