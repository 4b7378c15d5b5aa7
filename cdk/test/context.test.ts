/** What an operator may write, and what is said to mistakes. */
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { App } from 'aws-cdk-lib';
import { operatorContext } from '../lib/context';
import { environment } from '../lib/environments';
import { twinwayApp } from '../lib/twinway-app';

const read = (context: Record<string, unknown>) => operatorContext(new App({ context }).node, '/nowhere');

/** A key set's file. */
function keySetFile(document: unknown): string {
  const file = join(mkdtempSync(join(tmpdir(), 'twinway-')), 'jwks.json');
  writeFileSync(file, JSON.stringify(document, undefined, 2));
  return file;
}

test('nothing given means no zone, no platform, a generated secret, all traffic to API Gateway', () => {
  const context = read({});
  assert.equal(context.zone, undefined);
  assert.equal(context.platform, 'none');
  assert.equal(context.callers.keySet, undefined);
  assert.equal(context.callers.keySetAddress, undefined);
  assert.equal(context.podsShare, 0);
  assert.equal(context.setsGatewayAccount, true);
});

test('a zone is an id and a name', () => {
  assert.deepEqual(read({ zone: 'Z0123456789ABC:example.com' }).zone, { id: 'Z0123456789ABC', name: 'example.com' });
  assert.throws(() => read({ zone: 'example.com' }), /write the hosted zone as/);
});

test('a public key set travels compact, a private or a foreign document is refused', () => {
  const key = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
  assert.equal(read({ jwks: keySetFile({ keys: [key] }) }).callers.keySet, JSON.stringify({ keys: [key] }));
  assert.throws(() => read({ jwks: keySetFile({ keys: [{ ...key, d: 'secret' }] }) }), /holds a private key/);
  assert.throws(() => read({ jwks: keySetFile({ hello: [] }) }), /no JSON Web Key Set/);
  assert.throws(() => read({ jwks: keySetFile({ keys: Array(60).fill(key) }) }), /3072 fit/);
});

test('a key set may be an address, over HTTPS', () => {
  const { keySet, keySetAddress } = read({ jwks: 'https://idp.example.com/jwks.json' }).callers;
  assert.equal(keySet, undefined);
  assert.equal(keySetAddress, 'https://idp.example.com/jwks.json');
  for (const jwks of ['http://idp.example.com/jwks.json', 'ftp://idp.example.com', 'https://']) {
    assert.throws(() => read({ jwks }), /'jwks' is '.*': write a file, or an address/, jwks);
  }
});

test('mistakes name the key', () => {
  assert.throws(() => read({ podsShare: '101' }), /'podsShare' is '101'/);
  assert.throws(() => read({ platform: 'ecs' }), /use one of eks, none/);
  assert.throws(() => read({ signingSecret: 'secret' }), /'signingSecret' .* whole ARN/);
  assert.throws(() => environment('live'), /environment=dev\|staging\|prod/);
});

test('missing archives are named, with the command that makes them', () => {
  const context = { lambda: '/nowhere' };
  assert.throws(() => twinwayApp('/nowhere', { context }), /\/nowhere\/authorizer-arm64\.zip.*make lambda/);
});

test('a platform without a zone, and traffic to pods without a platform, are refused', () => {
  const lambda = join(__dirname, '../stand-in');
  assert.throws(() => twinwayApp(lambda, { context: { platform: 'eks' } }), /needs a DNS zone/);
  const zone = 'Z0123456789ABC:example.com';
  assert.throws(() => twinwayApp(lambda, { context: { zone, podsShare: '10' } }), /add -c platform=eks/);
});
