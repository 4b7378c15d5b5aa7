/** Tests that names of this app equal those of the functions, the gateway and the HTTP API's description. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { CLAIM_NAMES, claimVariable, GRANTS, LIMIT_NAMES, limitVariable, TABLES, VARIABLES } from '../lib/names';
import { json } from './synthesized';

const ROOT = resolve(__dirname, '../../..');
const repository = (path: string) => readFileSync(resolve(ROOT, path), 'utf8');

test('the functions read every variable', () => {
  const source = repository('handlers/aws/src/config.rs');
  const read = new Set([...source.matchAll(/pub const [A-Z_]+: &str = "([A-Z_]+)";/g)].map((match) => match[1]));
  for (const variable of Object.values(VARIABLES)) {
    assert.ok(read.has(variable), `${variable} is not in handlers/aws/src/config.rs`);
  }
});

test('the limits are those of the application', () => {
  const source = repository('handlers/src/limits/settings.rs');
  const variables = [...source.matchAll(/"limits\.\w+",\s*"(TWINWAY_LIMITS_[A-Z_]+)"/g)].map((match) => match[1]);
  assert.deepEqual(LIMIT_NAMES.map(limitVariable), variables);
});

test('the claim settings are those of the application', () => {
  const source = repository('handlers/src/authorizer/claim_mapping.rs');
  const variables = [...source.matchAll(/"(TWINWAY_AUTH_[A-Z_]+)"/g)].map((match) => match[1]);
  assert.deepEqual(CLAIM_NAMES.map(claimVariable), variables);
});

test('keys and indexes are exactly those of the adapters', () => {
  const source = repository('handlers/aws/src/tables.rs');
  const used = new Set([...source.matchAll(/pub const [A-Z_]+: &str = "([a-z_]+)";/g)].map((match) => match[1]));
  const defined = Object.values(TABLES).flatMap(({ partitionKey, sortKey, expiry, indexes }) => [
    partitionKey.name,
    sortKey.name,
    expiry,
    ...Object.keys(indexes),
    ...Object.values(indexes).flatMap((keys) => [keys.partitionKey.name, keys.sortKey.name]),
  ]);
  assert.deepEqual(new Set(defined), used);
});

/** Source of the migration's calls, which need the operator's permissions and run in no function. */
const MIGRATION = 'archive.rs';

/** The DynamoDB calls in the sources of one adapter, as IAM actions; the parts of a transaction have builders. */
function calls(adapter: string): Set<string> {
  const folder = `handlers/aws/src/${adapter}`;
  const files = readdirSync(resolve(ROOT, folder)).filter((file) => file.endsWith('.rs') && file !== MIGRATION);
  const source = [`${folder}.rs`, ...files.map((file) => `${folder}/${file}`)].map(repository).join('\n');
  const operations = [...source.matchAll(/\.((?:get|put|update|delete|batch_get|batch_write)_item|query|scan)\(\)/g)];
  const parts = [...source.matchAll(/\b(Put|Update|Delete|ConditionCheck)::builder\(\)/g)];
  return new Set([...operations.map((match) => camelCase(match[1] ?? '')), ...parts.map((match) => `${match[1]}Item`)]);
}

const camelCase = (name: string) => name.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());

test('the granted actions are exactly those that the adapters call', () => {
  const granted = (table: 'connections' | 'messages') =>
    new Set(Object.values(GRANTS).flatMap((tables) => tables[table]?.table ?? []));
  assert.deepEqual(granted('connections'), calls('connections'));
  assert.deepEqual(granted('messages'), calls('log'));
});

test('the timeout of the authorizer exceeds fetching keys and reading secrets', () => {
  const seconds = (file: string, name: string) => {
    const found = new RegExp(`pub const ${name}: Duration = Duration::from_secs\\((\\d+)\\);`).exec(repository(file));
    assert.ok(found, `${name} is not in ${file}`);
    return Number(found[1]);
  };
  // A token with an unknown signature may wait for two reads of the secrets: the first one and a refresh.
  const longest = Math.max(
    seconds('handlers/jwks/src/lib.rs', 'FETCH_TIMEOUT'),
    2 * seconds('handlers/aws/src/secrets.rs', 'READ_TIMEOUT'),
  );
  const sam = /AuthorizerFunction:[\s\S]*?Timeout: (\d+)/.exec(repository('template.yaml'));
  const deployed = Object.entries(json('prod', 'App').Resources).find(([id]) =>
    id.startsWith('FunctionsAuthorizerFunction'),
  );
  for (const timeout of [Number(sam?.[1]), Number(deployed?.[1].Properties?.Timeout)]) {
    assert.ok(timeout >= longest + 2, `${timeout} s are less than ${longest} s plus 2 s for the response`);
  }
});

test('the SAM template has the same variables, keys, indexes and permissions', () => {
  const sam = repository('template.yaml');
  const found = (pattern: RegExp) => new Set([...sam.matchAll(pattern)].map((match) => match[1]));
  // `sam local invoke` overrides declared variables only, and has no Secrets Manager.
  const known = new Set<string | undefined>([
    ...Object.values(VARIABLES),
    ...CLAIM_NAMES.map(claimVariable),
    'TWINWAY_AUTH_SECRET',
  ]);
  assert.deepEqual(
    [...found(/^ +(TWINWAY_[A-Z_]+):/gm)].filter((variable) => !known.has(variable)),
    [],
  );
  const keys = Object.values(TABLES).flatMap(({ partitionKey, sortKey, indexes }) => [
    partitionKey,
    sortKey,
    ...Object.values(indexes).flatMap((index) => [index.partitionKey, index.sortKey]),
  ]);
  for (const { name, type } of keys) {
    assert.match(sam, new RegExp(`AttributeName: ${name}, AttributeType: ${type} `));
  }
  assert.deepEqual(found(/IndexName: (\w+)/g), new Set(Object.keys(TABLES.connections.indexes)));
  assert.deepEqual(found(/TimeToLiveSpecification: \{ AttributeName: (\w+)/g), new Set([TABLES.messages.expiry]));
  const granted = Object.values(GRANTS).flatMap((tables) => Object.values(tables).flatMap(({ table }) => table));
  assert.deepEqual(found(/dynamodb:(\w+)/g), new Set(granted));
});

test('every path of the HTTP API is under the route /v1', () => {
  const paths = [...repository('docs/openapi.yaml').matchAll(/^ {2}(\/\S+):$/gm)].map((match) => match[1]);
  assert.ok(paths.length > 0);
  assert.deepEqual(
    paths.filter((path) => !path?.startsWith('/v1/')),
    [],
  );
});
