import {
  ApiGatewayManagementApiClient,
  GoneException,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { listMembers, removeMember } from "./members";

const management = new ApiGatewayManagementApiClient({ endpoint: process.env.CALLBACK_URL });

/** Posts a message to all members of a room, and removes members whose connections are gone. */
export async function broadcast(room: string, message: object): Promise<void> {
  const Data = JSON.stringify(message);
  const post = async (ConnectionId: string) => {
    try {
      await management.send(new PostToConnectionCommand({ ConnectionId, Data }));
    } catch (error) {
      if (!(error instanceof GoneException)) throw error;
      await removeMember(ConnectionId);
    }
  };
  await Promise.all((await listMembers(room)).map((member) => post(member.connectionId)));
}
