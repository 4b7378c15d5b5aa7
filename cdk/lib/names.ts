/**
 * Every name that the functions and this app must agree on: functions, environment variables, tables, attributes.
 *
 * The Rust side (`handlers/aws`) is the one that reads them; `test/names.test.ts` fails when a name here is not in its
 * source. Names of resources do not stand here: CloudFormation makes those.
 */
import { AttributeType } from 'aws-cdk-lib/aws-dynamodb';

/** The functions, each named after its binary in `handlers/aws` and its archive `{name}-arm64.zip`. */
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
  keySetAddress: 'TWINWAY_AUTH_JWKS_URL',
  issuer: 'TWINWAY_AUTH_ISSUER',
  audience: 'TWINWAY_AUTH_AUDIENCE',
  apiKeys: 'TWINWAY_AUTH_API_KEYS_ARN',
} as const;

/** Which functions have effects, and so want the tables and `@connections`; which verify callers. */
export const HAS_EFFECTS: ReadonlySet<FunctionName> = new Set(['connect', 'disconnect', 'message', 'api']);
export const VERIFIES_CALLERS: ReadonlySet<FunctionName> = new Set(['authorizer', 'api']);

/** The tables. */
export type TableName = 'connections' | 'messages';

/** A key attribute. */
export interface KeyAttribute {
  readonly name: string;
  readonly type: AttributeType;
}

/** A table as the adapters expect it (`docs/adr/0010-dynamodb-tables.md`). */
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

/** What one function does with a table and with its indexes, verb by verb. */
export interface TableGrant {
  readonly table: readonly string[];
  readonly indexes: readonly string[];
}

/**
 * What delivering needs: to find an audience, and to take a connection that turns out to be gone out of the listings. A
 * transaction has no right of its own, it needs those of its parts ("IAM and transactions", DynamoDB guide); a batch has one.
 */
const DELIVERING = ['Query', 'UpdateItem', 'BatchWriteItem'];
/** What naming the members of an audience needs beside it: their records. */
const LISTING = [...DELIVERING, 'GetItem', 'BatchGetItem'];
const INDEXES = Object.keys(TABLES.connections.indexes);

/** Appending is conditional; it reads the head of its channel and what it may repeat. */
const LOG: TableGrant = { table: ['GetItem', 'BatchGetItem', 'Query', 'PutItem', 'UpdateItem'], indexes: [] };

/** Who may do what. */
export const GRANTS: Readonly<Record<FunctionName, Readonly<Partial<Record<TableName, TableGrant>>>>> = {
  authorizer: {},
  connect: { connections: { table: [...DELIVERING, 'PutItem'], indexes: INDEXES } },
  disconnect: { connections: { table: [...DELIVERING, 'DeleteItem'], indexes: INDEXES } },
  message: { connections: { table: [...LISTING, 'PutItem', 'DeleteItem'], indexes: INDEXES }, messages: LOG },
  api: { connections: { table: LISTING, indexes: INDEXES }, messages: LOG },
};

/** Verbs of `@connections` by function: a post delivers, a delete closes ("@connections commands", API Gateway guide). */
export const MANAGEMENT_VERBS: Readonly<Partial<Record<FunctionName, readonly ('POST' | 'DELETE')[]>>> = {
  connect: ['POST'],
  disconnect: ['POST'],
  message: ['POST', 'DELETE'],
  api: ['POST', 'DELETE'],
};

/**
 * The conformance suite's probes: its standard API (`tests/src/conformance/spec.rs`) and what its function reads, is
 * called with and calls (`tests/probe`).
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

/** Where the pods run: what `k8s/` calls the namespace and the service account. */
export const POD_IDENTITY = { namespace: 'twinway', serviceAccount: 'twinway' } as const;

/** The tag that puts a resource into the backup plan of its environment. */
export const BACKUP_TAG = 'twinway:backup';

/** A name as part of a construct's id: `Message` for `message`. */
export const titled = (name: string): string => `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
