/** What this app calls things is what the functions, the gateway and the HTTP API's description call them. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { TABLES, VARIABLES } from '../lib/names';

const ROOT = resolve(__dirname, '../../..');
const repository = (path: string) => readFileSync(resolve(ROOT, path), 'utf8');

/** The functions' sources; a checkout without them has nothing to compare with, and says so. */
const skip = existsSync(resolve(ROOT, 'handlers/aws/src/config.rs')) ? false : 'handlers/aws is not in this checkout';

test('every variable is one that the functions read', { skip }, () => {
  const source = repository('handlers/aws/src/config.rs');
  const read = new Set([...source.matchAll(/pub const [A-Z_]+: &str = "([A-Z_]+)";/g)].map((match) => match[1]));
  for (const variable of Object.values(VARIABLES)) {
    assert.ok(read.has(variable), `${variable} is not in handlers/aws/src/config.rs`);
  }
});

test('every key and index is one that the adapters use', { skip }, () => {
  const source = repository('handlers/aws/src/tables.rs');
  const used = new Set([...source.matchAll(/pub const [A-Z_]+: &str = "([a-z_]+)";/g)].map((match) => match[1]));
  const mine = Object.values(TABLES).flatMap(({ partitionKey, sortKey, expiry, indexes }) => [
    partitionKey.name,
    sortKey.name,
    expiry,
    ...Object.keys(indexes),
    ...Object.values(indexes).flatMap((keys) => [keys.partitionKey.name, keys.sortKey.name]),
  ]);
  assert.deepEqual(new Set(mine), used);
});

test('every path of the HTTP API is under the one route', () => {
  const paths = [...repository('docs/openapi.yaml').matchAll(/^ {2}(\/\S+):$/gm)].map((match) => match[1]);
  assert.ok(paths.length > 0);
  assert.deepEqual(
    paths.filter((path) => !path?.startsWith('/v1/')),
    [],
  );
});
