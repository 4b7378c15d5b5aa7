import type { APIGatewayProxyWebsocketHandlerV2 } from "aws-lambda";
import { broadcast } from "./broadcast";
import { findMember } from "./members";

export const handler: APIGatewayProxyWebsocketHandlerV2 = async (event) => {
  const { text } = JSON.parse(event.body ?? "{}");
  const member = await findMember(event.requestContext.connectionId);
  if (!member?.room) {
    return { statusCode: 400 };
  }
  await broadcast(member.room, { from: member.name, text });
  return { statusCode: 200 };
};
