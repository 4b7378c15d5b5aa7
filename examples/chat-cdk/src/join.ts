import type { APIGatewayProxyWebsocketHandlerV2 } from "aws-lambda";
import { broadcast } from "./broadcast";
import { findMember, saveMember } from "./members";

export const handler: APIGatewayProxyWebsocketHandlerV2 = async (event) => {
  const { room } = JSON.parse(event.body ?? "{}");
  const member = await findMember(event.requestContext.connectionId);
  if (!member || !room) {
    return { statusCode: 400 };
  }
  await saveMember({ ...member, room });
  await broadcast(room, { joined: member.name });
  return { statusCode: 200 };
};
