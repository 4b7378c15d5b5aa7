/**
 * Settings of one operator, read from CDK context (`-c key=value`, or `context` in `cdk.json`) and validated.
 *
 * Every error names the key and an example. Nothing is looked up in an account.
 */
import { readFileSync } from 'node:fs';
import type { Node } from 'constructs';
import { CLAIM_NAMES, type Claims, LIMIT_NAMES, type Limits, PRESENCE_NAMES, type PresenceNames } from './names';

/** Maximum size of the key set; all variables of a function share 4 KB ("Lambda quotas", Lambda guide). */
const MAX_KEY_SET_BYTES = 3 * 1024;

/** Shards of a replication group with up to two replicas each; 90 nodes per cluster ("Quotas", ElastiCache guide). */
const MAX_CACHE_SHARDS = 30;

/** A public hosted zone of Route 53. */
export interface Zone {
  readonly id: string;
  readonly name: string;
}

/** Verification of callers. Without a key set or its URL, a generated secret signs their tokens (HS256). */
export interface CallerSettings {
  /** Text of the identity provider's JSON Web Key Set (RFC 7517). */
  readonly keySet: string | undefined;
  /** URL of the identity provider's key set; the functions fetch it. */
  readonly keySetUrl: string | undefined;
  /** Accepted issuers, comma-separated. */
  readonly issuer: string | undefined;
  /** Accepted audiences, comma-separated, or `*`; required with a key set's URL. */
  readonly audience: string | undefined;
  /** Claims of user, role, tenant and granted channels, the values that mean a role, and the channels by default. */
  readonly claims: Claims;
  /** ARN of an existing secret that signs tokens, for deployments that share one; if unset, a secret is generated. */
  readonly signingSecretArn: string | undefined;
  /** ARN of the previous secret, whose tokens remain valid. */
  readonly previousSecretArn: string | undefined;
  /** ARN of the secret with the API keys of backends: `name:tenant:key`, comma-separated. */
  readonly apiKeysArn: string | undefined;
}

/** All settings of an operator. */
export interface OperatorContext {
  readonly zone: Zone | undefined;
  readonly callers: CallerSettings;
  /** Limits of the application with a lower value than the default; the functions validate the values at start. */
  readonly limits: Limits;
  /** Channels whose readers users may list by name; `rooms` if unset. */
  readonly presenceNames: PresenceNames | undefined;
  /** ARN of the IAM role that administers the Kubernetes cluster. */
  readonly clusterAdminArn: string | undefined;
  /** Whether the deployment includes the platform for pods. */
  readonly platform: 'eks' | 'none';
  /** Shards of Valkey: with more than one it is a Cluster, whose clients need `topology=cluster`. */
  readonly cacheShards: number;
  /** `waf`: limits the requests of each address to the front ends and the HTTP API with AWS WAF. */
  readonly edge: 'waf' | 'none';
  /** `only`: deploys the conformance suite's probes instead of the application and the platform. */
  readonly probe: 'only' | undefined;
  /** Percentage of new connections that DNS sends to the pods; API Gateway receives the rest. */
  readonly podsShare: number;
  /** Mail address for alarms. */
  readonly alarmEmail: string | undefined;
  /** Whether this app sets API Gateway's CloudWatch role, of which there is one per account and region. */
  readonly setsGatewayAccount: boolean;
  /** Directory of the archives `{name}-arm64.zip`. */
  readonly lambdaDirectory: string;
}

/** Reads and validates the context of an app. `lambdaDirectory` is the default of the key `lambda`. */
export function operatorContext(node: Node, lambdaDirectory: string): OperatorContext {
  return {
    zone: zone(text(node, 'zone')),
    callers: {
      ...keySource(text(node, 'jwks')),
      issuer: text(node, 'issuer'),
      audience: audience(text(node, 'jwks'), text(node, 'audience')),
      claims: claims(text(node, 'claims')),
      signingSecretArn: arn('signingSecret', text(node, 'signingSecret')),
      previousSecretArn: arn('previousSecret', text(node, 'previousSecret')),
      apiKeysArn: arn('apiKeys', text(node, 'apiKeys')),
    },
    limits: limits(text(node, 'limits')),
    presenceNames: choice(node, 'presenceNames', PRESENCE_NAMES),
    clusterAdminArn: arn('clusterAdmin', text(node, 'clusterAdmin')),
    platform: choice(node, 'platform', ['eks', 'none'] as const) ?? 'none',
    cacheShards: shards(text(node, 'cacheShards')),
    edge: choice(node, 'edge', ['waf', 'none'] as const) ?? 'none',
    probe: choice(node, 'probe', ['only'] as const),
    podsShare: percentage('podsShare', text(node, 'podsShare')),
    alarmEmail: text(node, 'alarmEmail'),
    setsGatewayAccount: choice(node, 'gatewayAccount', ['set', 'leave'] as const) !== 'leave',
    lambdaDirectory: text(node, 'lambda') ?? lambdaDirectory,
  };
}

/** Returns one of `choices`, or `undefined` if the key is not set. */
export function choice<T extends string>(node: Node, key: string, choices: readonly T[]): T | undefined {
  const value = text(node, key);
  const known = choices.find((candidate) => candidate === value);
  if (value !== undefined && known === undefined) {
    throw new Error(`context '${key}' is '${value}': use one of ${choices.join(', ')}`);
  }
  return known;
}

function text(node: Node, key: string): string | undefined {
  const value: unknown = node.tryGetContext(key);
  if (value === undefined || value === '') {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw new Error(`context '${key}' must be text`);
  }
  return value;
}

function zone(value: string | undefined): Zone | undefined {
  if (value === undefined) {
    return undefined;
  }
  const match = /^(Z[A-Z0-9]+):([a-z0-9.-]+\.[a-z]{2,})$/.exec(value);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new Error(`context 'zone' is '${value}': expected a hosted zone such as Z0123456789ABC:example.com`);
  }
  return { id: match[1], name: match[2] };
}

/** A key set's URL, or the text of its file. */
function keySource(value: string | undefined): Pick<CallerSettings, 'keySet' | 'keySetUrl'> {
  if (value === undefined || !value.includes('://')) {
    return { keySet: value === undefined ? undefined : keySet(value), keySetUrl: undefined };
  }
  if (!URL.canParse(value) || new URL(value).protocol !== 'https:') {
    throw new Error(
      `context 'jwks' is '${value}': expected a file, or a URL such as https://idp.example.com/jwks.json`,
    );
  }
  return { keySet: undefined, keySetUrl: value };
}

/** Returns the audience. A provider signs the tokens of all its applications with the keys at one URL. */
function audience(jwks: string | undefined, value: string | undefined): string | undefined {
  if (jwks?.includes('://') && value === undefined) {
    throw new Error(
      `context 'audience' is required with 'jwks=${jwks}': use the audience of your tokens, or * to accept those of every application`,
    );
  }
  return value;
}

/** Parses `name=value` pairs such as `role_claim=cognito:groups,admin_roles=support root`; spaces separate values. */
function claims(value: string | undefined): Claims {
  const pairs = (value ?? '').split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name, ...rest] = pair.split('=');
      const known = CLAIM_NAMES.find((candidate) => candidate === name?.trim());
      const words = rest.join('=').trim().split(/\s+/);
      if (known === undefined || words[0] === '') {
        throw new Error(`context 'claims' has '${pair}': use name=value with a name of ${CLAIM_NAMES.join(', ')}`);
      }
      return [known, words.join(',')];
    }),
  );
}

/** Returns the text of a key set's file; it must contain public keys only and fit a function's environment. */
function keySet(file: string): string {
  const document: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const compact = JSON.stringify(document);
  if (!compact.startsWith('{"keys":[')) {
    throw new Error(`context 'jwks': ${file} is not a JSON Web Key Set ({"keys": […]}, RFC 7517)`);
  }
  if (/"(d|k|p|q)":/.test(compact)) {
    throw new Error(`context 'jwks': ${file} contains a private key: use the public key set of the identity provider`);
  }
  if (compact.length > MAX_KEY_SET_BYTES) {
    throw new Error(
      `context 'jwks': ${file} has ${compact.length} bytes, more than ${MAX_KEY_SET_BYTES}: remove unused keys`,
    );
  }
  return compact;
}

/** Parses `name=value` pairs such as `body_bytes=4KiB,resume_time=5s`. */
function limits(value: string | undefined): Limits {
  const pairs = (value ?? '').split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name, limit = ''] = pair.split('=', 2).map((part) => part.trim());
      const known = LIMIT_NAMES.find((candidate) => candidate === name);
      if (known === undefined) {
        throw new Error(`context 'limits' has '${pair}': use name=value with a name of ${LIMIT_NAMES.join(', ')}`);
      }
      if (!/^\d+[\dA-Za-z]*$/.test(limit)) {
        throw new Error(`context 'limits' has '${pair}': expected a number with an optional unit, such as 4KiB or 5s`);
      }
      return [known, limit];
    }),
  );
}

function arn(key: string, value: string | undefined): string | undefined {
  if (value !== undefined && !/^arn:[a-z-]+:[a-z]+:[a-z0-9-]*:\d{12}:\S+$/.test(value)) {
    throw new Error(`context '${key}' is '${value}': expected a complete ARN`);
  }
  return value;
}

function shards(value: string | undefined): number {
  const number = Number(value ?? '1');
  if (!Number.isInteger(number) || number < 1 || number > MAX_CACHE_SHARDS) {
    throw new Error(`context 'cacheShards' is '${value}': expected a whole number from 1 to ${MAX_CACHE_SHARDS}`);
  }
  return number;
}

function percentage(key: string, value: string | undefined): number {
  const number = Number(value ?? '0');
  if (!Number.isInteger(number) || number < 0 || number > 100) {
    throw new Error(`context '${key}' is '${value}': expected a whole number from 0 to 100`);
  }
  return number;
}
