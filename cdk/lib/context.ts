/**
 * What belongs to one operator, read from CDK context (`-c key=value`, or `context` in `cdk.json`) and checked.
 *
 * Every mistake names the key and an example. Nothing is looked up in an account.
 */
import { readFileSync } from 'node:fs';
import type { Node } from 'constructs';

/** All variables of a function share 4 KB ("Lambda quotas", Lambda guide); the others need less than the rest. */
const KEY_SET_BYTES = 3 * 1024;

/** A public hosted zone of Route 53. */
export interface Zone {
  readonly id: string;
  readonly name: string;
}

/** How callers are verified. Without a key set or its address a generated secret signs their tokens (HS256). */
export interface CallerSettings {
  /** The identity provider's JSON Web Key Set (RFC 7517): its text. */
  readonly keySet: string | undefined;
  /** Where the identity provider publishes it; functions fetch it from there. */
  readonly keySetAddress: string | undefined;
  readonly issuer: string | undefined;
  readonly audience: string | undefined;
  /** A secret that signs tokens, made elsewhere, for deployments that must share one; unset, one is made. */
  readonly signingSecretArn: string | undefined;
  /** The secret before it, whose tokens are still taken. */
  readonly previousSecretArn: string | undefined;
  /** The secret with the keys of backends: `name:tenant:key`, separated by commas. */
  readonly apiKeysArn: string | undefined;
}

/** The whole of an operator's context. */
export interface OperatorContext {
  readonly zone: Zone | undefined;
  readonly callers: CallerSettings;
  /** The IAM role of the people who administer the Kubernetes cluster. */
  readonly clusterAdminArn: string | undefined;
  /** Whether the platform for pods is part of this deployment. */
  readonly platform: 'eks' | 'none';
  /** `only`: the conformance suite's probes, and nothing of the application or the platform. */
  readonly probe: 'only' | undefined;
  /** Per cent of new connections that DNS sends to the pods; the rest goes to API Gateway. */
  readonly podsShare: number;
  /** Who gets mail when an alarm goes off. */
  readonly alarmEmail: string | undefined;
  /** Whether the account's CloudWatch role for API Gateway is set by this app; it exists once an account and region. */
  readonly setsGatewayAccount: boolean;
  /** Where `{name}-arm64.zip` of each function lies. */
  readonly lambdaDirectory: string;
}

/** Reads and checks the context of an app. `lambdaDirectory` is the default for the key `lambda`. */
export function operatorContext(node: Node, lambdaDirectory: string): OperatorContext {
  return {
    zone: zone(text(node, 'zone')),
    callers: {
      ...keySource(text(node, 'jwks')),
      issuer: text(node, 'issuer'),
      audience: text(node, 'audience'),
      signingSecretArn: arn('signingSecret', text(node, 'signingSecret')),
      previousSecretArn: arn('previousSecret', text(node, 'previousSecret')),
      apiKeysArn: arn('apiKeys', text(node, 'apiKeys')),
    },
    clusterAdminArn: arn('clusterAdmin', text(node, 'clusterAdmin')),
    platform: choice(node, 'platform', ['eks', 'none'] as const) ?? 'none',
    probe: choice(node, 'probe', ['only'] as const),
    podsShare: percentage('podsShare', text(node, 'podsShare')),
    alarmEmail: text(node, 'alarmEmail'),
    setsGatewayAccount: choice(node, 'gatewayAccount', ['set', 'leave'] as const) !== 'leave',
    lambdaDirectory: text(node, 'lambda') ?? lambdaDirectory,
  };
}

/** One of `choices`, or `undefined` when the key is not given. */
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
    throw new Error(`context 'zone' is '${value}': write the hosted zone as Z0123456789ABC:example.com`);
  }
  return { id: match[1], name: match[2] };
}

/** A key set's address, or the text of its file. */
function keySource(value: string | undefined): Pick<CallerSettings, 'keySet' | 'keySetAddress'> {
  if (value === undefined || !value.includes('://')) {
    return { keySet: value === undefined ? undefined : keySet(value), keySetAddress: undefined };
  }
  if (!URL.canParse(value) || new URL(value).protocol !== 'https:') {
    throw new Error(`context 'jwks' is '${value}': write a file, or an address as https://idp.example.com/jwks.json`);
  }
  return { keySet: undefined, keySetAddress: value };
}

/** The text of a key set's file: public keys only, and small enough for a function's environment. */
function keySet(file: string): string {
  const document: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const compact = JSON.stringify(document);
  if (!compact.startsWith('{"keys":[')) {
    throw new Error(`context 'jwks': ${file} is no JSON Web Key Set ({"keys": […]}, RFC 7517)`);
  }
  if (/"(d|k|p|q)":/.test(compact)) {
    throw new Error(`context 'jwks': ${file} holds a private key: give the public set of the identity provider`);
  }
  if (compact.length > KEY_SET_BYTES) {
    throw new Error(`context 'jwks': ${file} has ${compact.length} bytes, ${KEY_SET_BYTES} fit: keep the keys in use`);
  }
  return compact;
}

function arn(key: string, value: string | undefined): string | undefined {
  if (value !== undefined && !/^arn:[a-z-]+:[a-z]+:[a-z0-9-]*:\d{12}:\S+$/.test(value)) {
    throw new Error(`context '${key}' is '${value}': write the whole ARN`);
  }
  return value;
}

function percentage(key: string, value: string | undefined): number {
  const number = Number(value ?? '0');
  if (!Number.isInteger(number) || number < 0 || number > 100) {
    throw new Error(`context '${key}' is '${value}': write a whole number from 0 to 100`);
  }
  return number;
}
