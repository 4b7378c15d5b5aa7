/**
 * Settings of the environments dev, staging and prod.
 *
 * Settings that identify an operator's account (DNS zone, identity provider) are CDK context, so a first deployment
 * needs no change of this file.
 */
import { Duration } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { FunctionName } from './names';

/** The names of the environments. */
export const ENVIRONMENT_NAMES = ['dev', 'staging', 'prod'] as const;
export type EnvironmentName = (typeof ENVIRONMENT_NAMES)[number];

/** Deletion of a stack: deletes its data, or retains data that is protected against deletion. */
export type DataProtection = 'disposable' | 'retained';

/** Sizes of the platform for pods. */
export interface PlatformSettings {
  /** Three availability zones of the region; fixed, because a synthesis without an account cannot look them up. */
  readonly zones: readonly [string, string, string];
  /** NAT gateways: one is cheap, three survive the loss of an availability zone. */
  readonly natGateways: 1 | 3;
  /** Worker nodes; the cluster autoscaler scales between `min` and `max`. */
  readonly nodes: { readonly type: string; readonly min: number; readonly max: number };
  /** Networks that may access the Kubernetes API from outside the VPC; if empty, the endpoint is private. */
  readonly apiAccessFrom: readonly string[];
  /** Valkey: node type, and replicas in addition to the primary (at least one, for failover). */
  readonly cache: { readonly type: string; readonly replicas: number; readonly snapshotDays: number };
  /** PostgreSQL: instance class and size, read replicas, days of point-in-time recovery. */
  readonly database: {
    readonly type: string;
    readonly storageGiB: number;
    readonly maxStorageGiB: number;
    readonly readReplicas: number;
    readonly recoveryDays: number;
  };
  /** Region for copies of the backups, and retention of originals and copies in days. */
  readonly backup: { readonly copyRegion: string; readonly keepDays: number; readonly keepCopyDays: number };
}

/** Settings of an environment. */
export interface Environment {
  readonly name: EnvironmentName;
  readonly region: string;
  readonly data: DataProtection;
  /** Stage of the WebSocket API: the last segment of `wss://…/{stage}`; equal to `api.stage` of the shim. */
  readonly stage: string;
  readonly logRetention: RetentionDays;
  /** Steady rate (requests per second) and burst of each API's stage. */
  readonly throttle: { readonly rate: number; readonly burst: number };
  /**
   * Maximum number of HTTP requests and handshakes of one address in five minutes, where AWS WAF is deployed. Above the
   * reconnects of all users of one company's address after a restart of all pods.
   */
  readonly addressRate: number;
  /**
   * Reserved concurrency of functions that run before a caller is authenticated, so that a flood of handshakes or calls
   * cannot use up the account's concurrency (1,000 by default; AWS requires 100 to remain unreserved). A function with
   * a reservation cannot exceed it.
   */
  readonly reservedConcurrency: Readonly<Partial<Record<FunctionName, number>>>;
  /** Memory of a function in MiB; its CPU share is proportional. */
  readonly functionMemory: number;
  /** Retention of messages. */
  readonly messageRetention: Duration;
  /** `aws`: the key `aws/dynamodb`, whose use is logged in CloudTrail; `owned`: DynamoDB's own key, free. */
  readonly tableKey: 'owned' | 'aws';
  /** Prefix of host names in the zone, so that environments can share a zone: `staging.` or empty. */
  readonly hostPrefix: string;
  readonly platform: PlatformSettings;
}

const REGION = 'eu-central-1';

const SMALL_PLATFORM: PlatformSettings = {
  zones: [`${REGION}a`, `${REGION}b`, `${REGION}c`],
  natGateways: 1,
  nodes: { type: 'm7g.large', min: 3, max: 6 },
  apiAccessFrom: [],
  cache: { type: 'cache.t4g.small', replicas: 1, snapshotDays: 1 },
  database: { type: 't4g.medium', storageGiB: 20, maxStorageGiB: 100, readReplicas: 0, recoveryDays: 3 },
  backup: { copyRegion: 'eu-west-1', keepDays: 7, keepCopyDays: 7 },
};

const DEV: Environment = {
  name: 'dev',
  region: REGION,
  data: 'disposable',
  stage: 'prod',
  logRetention: RetentionDays.ONE_WEEK,
  throttle: { rate: 100, burst: 200 },
  addressRate: 10_000,
  // None: new accounts may have a concurrency of 10 only, and a reservation would then fail the deployment.
  reservedConcurrency: {},
  functionMemory: 256,
  messageRetention: Duration.days(7),
  tableKey: 'owned',
  hostPrefix: 'dev.',
  platform: SMALL_PLATFORM,
};

/** All environments by name. */
export const ENVIRONMENTS: Readonly<Record<EnvironmentName, Environment>> = {
  dev: DEV,
  staging: {
    ...DEV,
    name: 'staging',
    logRetention: RetentionDays.ONE_MONTH,
    throttle: { rate: 500, burst: 1000 },
    messageRetention: Duration.days(30),
    hostPrefix: 'staging.',
    platform: { ...SMALL_PLATFORM, database: { ...SMALL_PLATFORM.database, readReplicas: 1, recoveryDays: 7 } },
  },
  prod: {
    ...DEV,
    name: 'prod',
    data: 'retained',
    logRetention: RetentionDays.THREE_MONTHS,
    // Half of an account's default quota in a region (10,000 a second, API Gateway guide, "Throttle requests").
    throttle: { rate: 5000, burst: 2500 },
    reservedConcurrency: { authorizer: 200, api: 200 },
    functionMemory: 512,
    messageRetention: Duration.days(90),
    tableKey: 'aws',
    hostPrefix: '',
    platform: {
      ...SMALL_PLATFORM,
      natGateways: 3,
      nodes: { type: 'm7g.xlarge', min: 3, max: 30 },
      cache: { type: 'cache.r7g.large', replicas: 2, snapshotDays: 7 },
      database: { type: 'm7g.large', storageGiB: 100, maxStorageGiB: 1000, readReplicas: 1, recoveryDays: 14 },
      backup: { copyRegion: 'eu-west-1', keepDays: 35, keepCopyDays: 90 },
    },
  },
};

/** Returns the environment with this name. Throws an error that lists the names. */
export function findEnvironment(name: unknown): Environment {
  const known = ENVIRONMENT_NAMES.find((candidate) => candidate === name);
  if (known === undefined) {
    throw new Error(`unknown environment '${String(name)}': use -c environment=${ENVIRONMENT_NAMES.join('|')}`);
  }
  return ENVIRONMENTS[known];
}
