/** Tests of the context: accepted values and error messages. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { App } from 'aws-cdk-lib';
import { operatorContext } from '../lib/context';
import { findEnvironment } from '../lib/environments';
import { twinwayApp } from '../lib/twinway-app';

const read = (context: Record<string, unknown>) => operatorContext(new App({ context }).node, '/nowhere');

/** Writes a key set to a file and returns its path. */
function keySetFile(document: unknown): string {
  const file = join(mkdtempSync(join(tmpdir(), 'twinway-')), 'jwks.json');
  writeFileSync(file, JSON.stringify(document, undefined, 2));
  return file;
}

test('the defaults are no zone, no platform, a generated secret, and all traffic to API Gateway', () => {
  const context = read({});
  assert.equal(context.zone, undefined);
  assert.equal(context.platform, 'none');
  assert.equal(context.callers.keySet, undefined);
  assert.equal(context.callers.keySetUrl, undefined);
  assert.equal(context.podsShare, 0);
  assert.equal(context.cacheShards, 1);
  assert.equal(context.setsGatewayAccount, true);
});

test('the number of shards is a whole number in range', () => {
  assert.equal(read({ cacheShards: '3' }).cacheShards, 3);
  for (const cacheShards of ['0', '31', 'many']) {
    assert.throws(() => read({ cacheShards }), /expected a whole number from 1 to 30/, cacheShards);
  }
});

test('a zone is an id and a name', () => {
  assert.deepEqual(read({ zone: 'Z0123456789ABC:example.com' }).zone, { id: 'Z0123456789ABC', name: 'example.com' });
  assert.throws(() => read({ zone: 'example.com' }), /expected a hosted zone/);
});

test('a public key set is compacted, a private or another document is rejected', () => {
  const key = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  assert.equal(read({ jwks: keySetFile({ keys: [key] }) }).callers.keySet, JSON.stringify({ keys: [key] }));
  assert.throws(() => read({ jwks: keySetFile({ keys: [{ ...key, d: 'secret' }] }) }), /contains a private key/);
  assert.throws(() => read({ jwks: keySetFile({ hello: [] }) }), /not a JSON Web Key Set/);
  assert.throws(() => read({ jwks: keySetFile({ keys: Array(60).fill(key) }) }), /more than 3072/);
});

test('a key set may be an HTTPS URL', () => {
  const { keySet, keySetUrl } = read({ jwks: 'https://idp.example.com/jwks.json', audience: 'chat' }).callers;
  assert.equal(keySet, undefined);
  assert.equal(keySetUrl, 'https://idp.example.com/jwks.json');
  for (const jwks of ['http://idp.example.com/jwks.json', 'ftp://idp.example.com', 'https://']) {
    assert.throws(() => read({ jwks }), /'jwks' is '.*': expected a file, or a URL/, jwks);
  }
});

test('a key set URL requires an audience', () => {
  const jwks = 'https://idp.example.com/jwks.json';
  assert.throws(() => read({ jwks }), /'audience' is required with 'jwks=https:/);
  assert.equal(read({ jwks, audience: '*' }).callers.audience, '*');
});

test('claims are name=value pairs with values separated by spaces', () => {
  assert.deepEqual(read({ claims: 'role_claim=cognito:groups,admin_roles=support root' }).callers.claims, {
    role_claim: 'cognito:groups',
    admin_roles: 'support,root',
  });
  assert.deepEqual(read({}).callers.claims, {});
  for (const claims of ['role=x', 'role_claim', 'role_claim=']) {
    assert.throws(() => read({ claims }), /context 'claims' has '.*': use name=value/, claims);
  }
});

test('errors name the key', () => {
  assert.throws(() => read({ podsShare: '101' }), /'podsShare' is '101'/);
  assert.throws(() => read({ platform: 'ecs' }), /use one of eks, none/);
  assert.throws(() => read({ signingSecret: 'secret' }), /'signingSecret' .* complete ARN/);
  assert.throws(() => findEnvironment('live'), /environment=dev\|staging\|prod/);
});

test('rooms and topics by default are a claim setting, and names in presence a choice', () => {
  const { callers, presenceNames } = read({
    claims: 'default_channels=room:lobby topic:*,channels_claim=app.channels',
    presenceNames: 'all',
  });
  assert.deepEqual(callers.claims, { default_channels: 'room:lobby,topic:*', channels_claim: 'app.channels' });
  assert.equal(presenceNames, 'all');
  assert.equal(read({}).presenceNames, undefined);
  assert.throws(() => read({ presenceNames: 'none' }), /use one of rooms, all/);
});

test('limits are name=value pairs', () => {
  assert.deepEqual(read({ limits: 'body_bytes=4KiB, resume_time=5s' }).limits, {
    body_bytes: '4KiB',
    resume_time: '5s',
  });
  assert.deepEqual(read({}).limits, {});
  assert.throws(() => read({ limits: 'frames=3' }), /'limits' has 'frames=3': use name=value .*body_bytes/);
  assert.throws(() => read({ limits: 'body_bytes' }), /'limits' has 'body_bytes': expected a number/);
});

test('an error names missing archives and the command that builds them', () => {
  const context = { lambda: '/nowhere' };
  assert.throws(() => twinwayApp('/nowhere', { context }), /\/nowhere\/authorizer-arm64\.zip.*make lambda/);
});

test('a platform without a zone, and traffic to pods without a platform, are rejected', () => {
  const lambda = join(__dirname, '../placeholder');
  assert.throws(() => twinwayApp(lambda, { context: { platform: 'eks' } }), /requires a DNS zone/);
  const zone = 'Z0123456789ABC:example.com';
  assert.throws(() => twinwayApp(lambda, { context: { zone, podsShare: '10' } }), /add -c platform=eks/);
});
