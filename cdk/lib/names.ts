/**
 * Names that this app and the functions share: functions, environment variables, tables, attributes.
 *
 * The functions (`handlers/aws`) define them; `test/names.test.ts` fails if a name here is not in their source. Names
 * of resources are chosen by CloudFormation.
 */
import { AttributeType } from 'aws-cdk-lib/aws-dynamodb';

/** The functions, named after their binary in `handlers/aws` and their archive `{name}-arm64.zip`. */
export const FUNCTION_NAMES = ['authorizer', 'connect', 'disconnect', 'message', 'api'] as const;
export type FunctionName = (typeof FUNCTION_NAMES)[number];

/** Environment variables of the functions. */
export const VARIABLES = {
  connectionsTable: 'TWINWAY_CONNECTIONS_TABLE',
  messagesTable: 'TWINWAY_MESSAGES_TABLE',
  managementEndpoint: 'TWINWAY_MANAGEMENT_ENDPOINT',
  messageRetention: 'TWINWAY_RETENTION_AGE',
  secrets: 'TWINWAY_AUTH_SECRET_ARN',
  keySet: 'TWINWAY_AUTH_JWKS',
  keySetUrl: 'TWINWAY_AUTH_JWKS_URL',
  issuer: 'TWINWAY_AUTH_ISSUER',
  audience: 'TWINWAY_AUTH_AUDIENCE',
  apiKeys: 'TWINWAY_AUTH_API_KEYS_ARN',
  presenceNames: 'TWINWAY_AUTH_PRESENCE_NAMES',
} as const;

/** Channels whose readers users may list by name. */
export const PRESENCE_NAMES = ['rooms', 'all'] as const;
export type PresenceNames = (typeof PRESENCE_NAMES)[number];

/** Settings of the mapping of a token's claims (`auth.*` of the configuration). */
export const CLAIM_NAMES = [
  'user_claim',
  'role_claim',
  'tenant_claim',
  'admin_roles',
  'service_roles',
  'user_roles',
  'channels_claim',
  'default_channels',
] as const;
export type ClaimName = (typeof CLAIM_NAMES)[number];

/** Claims and roles that differ from their defaults, such as `{ role_claim: 'cognito:groups' }`. */
export type Claims = Readonly<Partial<Record<ClaimName, string>>>;

/** Environment variable of a setting of the mapping. */
export const claimVariable = (name: string): string => `TWINWAY_AUTH_${name.toUpperCase()}`;

/** Environment variables of `claims`. */
export const claimVariables = (claims: Claims): Record<string, string> =>
  Object.fromEntries(Object.entries(claims).map(([name, value]) => [claimVariable(name), value]));

/** Names of the application's limits (`limits.*` of the configuration). */
export const LIMIT_NAMES = [
  'body_bytes',
  'history_messages',
  'push_messages',
  'resume_messages',
  'resume_bytes',
  'resume_time',
  'listed_members',
  'counted_members',
] as const;
export type LimitName = (typeof LIMIT_NAMES)[number];

/** Values of limits that differ from their defaults, such as `{ body_bytes: '4KiB' }`. */
export type Limits = Readonly<Partial<Record<LimitName, string>>>;

/** Environment variable of a limit. */
export const limitVariable = (name: string): string => `TWINWAY_LIMITS_${name.toUpperCase()}`;

/** Environment variables of `limits`. */
export const limitVariables = (limits: Limits): Record<string, string> =>
  Object.fromEntries(Object.entries(limits).map(([name, value]) => [limitVariable(name), value]));

/** Functions that access the tables and `@connections`, and functions that verify callers. */
export const ACCESSES_STORES: ReadonlySet<FunctionName> = new Set(['connect', 'disconnect', 'message', 'api']);
export const VERIFIES_CALLERS: ReadonlySet<FunctionName> = new Set(['authorizer', 'api']);

/** Names of the tables. */
export type TableName = 'connections' | 'messages';

/** Key attribute of a table or index. */
export interface KeyAttribute {
  readonly name: string;
  readonly type: AttributeType;
}

/** Keys, TTL attribute and indexes of a table (`docs/adr/0010-dynamodb-tables.md`). */
export interface TableShape {
  readonly partitionKey: KeyAttribute;
  readonly sortKey: KeyAttribute;
  readonly expiry: string;
  readonly indexes: Readonly<Record<string, { readonly partitionKey: KeyAttribute; readonly sortKey: KeyAttribute }>>;
}

const text = (name: string): KeyAttribute => ({ name, type: AttributeType.STRING });

export const TABLES: Readonly<Record<TableName, TableShape>> = {
  connections: {
    partitionKey: text('pk'),
    sortKey: text('sk'),
    expiry: 'expires',
    indexes: {
      by_user: { partitionKey: text('user_key'), sortKey: text('id') },
      by_role: { partitionKey: text('tenant'), sortKey: text('role_id') },
    },
  },
  messages: {
    partitionKey: text('pk'),
    sortKey: { name: 'sk', type: AttributeType.NUMBER },
    expiry: 'expires',
    indexes: {},
  },
};

/** DynamoDB actions of a function on a table, and the indexes that it queries. */
export interface TableGrant {
  readonly table: readonly string[];
  readonly indexes: readonly string[];
}

/**
 * Actions of a delivery: finding an audience and removing a gone connection from the listings. A transaction requires
 * the permissions of its parts ("IAM and transactions", DynamoDB guide); a batch has its own permission.
 */
const DELIVERY_ACTIONS = ['Query', 'UpdateItem', 'BatchWriteItem'];
/** Actions of listing the members of an audience, which also reads their records. */
const LISTING_ACTIONS = [...DELIVERY_ACTIONS, 'GetItem', 'BatchGetItem'];
const INDEXES = Object.keys(TABLES.connections.indexes);

/** Actions of the message log: an append is conditional and reads the channel's head and possible duplicates. */
const LOG_GRANT: TableGrant = { table: ['GetItem', 'BatchGetItem', 'Query', 'PutItem', 'UpdateItem'], indexes: [] };

/** DynamoDB actions of each function. */
export const GRANTS: Readonly<Record<FunctionName, Readonly<Partial<Record<TableName, TableGrant>>>>> = {
  authorizer: {},
  // `$connect` reads revocations after it has written the record, and deletes the record of a revoked token.
  connect: { connections: { table: [...DELIVERY_ACTIONS, 'PutItem', 'GetItem', 'DeleteItem'], indexes: INDEXES } },
  disconnect: { connections: { table: [...DELIVERY_ACTIONS, 'DeleteItem'], indexes: INDEXES } },
  message: {
    connections: { table: [...LISTING_ACTIONS, 'PutItem', 'DeleteItem'], indexes: INDEXES },
    messages: LOG_GRANT,
  },
  // `api` writes and deletes revocations.
  api: { connections: { table: [...LISTING_ACTIONS, 'PutItem', 'DeleteItem'], indexes: INDEXES }, messages: LOG_GRANT },
};

/** `@connections` methods of each function: POST delivers, DELETE closes ("@connections commands", API guide). */
export const MANAGEMENT_METHODS: Readonly<Partial<Record<FunctionName, readonly ('POST' | 'DELETE')[]>>> = {
  connect: ['POST'],
  disconnect: ['POST'],
  message: ['POST', 'DELETE'],
  api: ['POST', 'DELETE'],
};

/**
 * The conformance suite's probe: its standard API (`tests/src/conformance/spec.rs`), and the variable, table and calls
 * of its function (`tests/probe`).
 */
export const PROBE = {
  archive: 'stage-probe-arm64.zip',
  stage: 'prod',
  selection: '$request.body.action',
  routes: ['$connect', '$disconnect', '$default', 'probe', 'chat', 'ask'],
  twoWayRoute: 'ask',
  tableVariable: 'PROBE_TABLE',
  partitionKey: text('connection'),
  expiry: 'expires',
  verbs: ['PutItem', 'GetItem', 'DeleteItem'],
  managementVerbs: ['POST', 'GET', 'DELETE'],
} as const;

/** Namespace and service account of External Secrets, which copies secrets for the pods (`k8s/`). */
export const POD_IDENTITY = { namespace: 'external-secrets', serviceAccount: 'external-secrets' } as const;

/** Tag that adds a resource to the backup plan of its environment. */
export const BACKUP_TAG = 'twinway:backup';

/** Returns a name with an upper-case first letter, for construct ids: `Message` for `message`. */
export const capitalized = (name: string): string => `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
