import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";

const TableName = process.env.TABLE_NAME;
const database = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export interface Member {
  connectionId: string;
  name: string;
  /** Unset before the member has joined a room. */
  room?: string;
}

export async function saveMember(member: Member): Promise<void> {
  await database.send(new PutCommand({ TableName, Item: member }));
}

export async function removeMember(connectionId: string): Promise<void> {
  await database.send(new DeleteCommand({ TableName, Key: { connectionId } }));
}

export async function findMember(connectionId: string): Promise<Member | undefined> {
  const { Item } = await database.send(new GetCommand({ TableName, Key: { connectionId } }));
  return Item as Member | undefined;
}

export async function listMembers(room: string): Promise<Member[]> {
  const { Items = [] } = await database.send(
    new QueryCommand({
      TableName,
      IndexName: "rooms",
      KeyConditionExpression: "room = :room",
      ExpressionAttributeValues: { ":room": room },
    }),
  );
  return Items as Member[];
}
