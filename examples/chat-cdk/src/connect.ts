import type { APIGatewayProxyWebsocketHandlerV2 } from "aws-lambda";
import { saveMember } from "./members";

export const handler: APIGatewayProxyWebsocketHandlerV2 = async (event) => {
  const name = event.queryStringParameters?.name;
  if (!name) {
    return { statusCode: 400, body: "the query parameter name is missing" };
  }
  await saveMember({ connectionId: event.requestContext.connectionId, name });
  return { statusCode: 200 };
};
