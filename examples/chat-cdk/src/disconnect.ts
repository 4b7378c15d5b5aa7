import type { APIGatewayProxyWebsocketHandlerV2 } from "aws-lambda";
import { removeMember } from "./members";

export const handler: APIGatewayProxyWebsocketHandlerV2 = async (event) => {
  await removeMember(event.requestContext.connectionId);
  return { statusCode: 200 };
};
