/** Tests of the probe's stack: the suite's standard API, minimal permissions, and complete deletion. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { App } from 'aws-cdk-lib';
import { Match } from 'aws-cdk-lib/assertions';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { findEnvironment } from '../lib/environments';
import { PROBE } from '../lib/names';
import { ProbeStack } from '../lib/probe-stack';
import { json, resources, template } from './synthesized';

const probe = template('dev', 'Probe');
const source = (path: string) => readFileSync(resolve(__dirname, '../../..', path), 'utf8');

test('the API is the standard API of the suite', () => {
  const spec = /pub fn standard\(\)[\s\S]*?\n {4}}/.exec(source('tests/src/conformance/spec.rs'))?.[0] ?? '';
  const names = { CONNECT: '$connect', DISCONNECT: '$disconnect', DEFAULT: '$default' } as const;
  const oneWay = [...spec.matchAll(/RouteKey::(CONNECT|DISCONNECT|DEFAULT)\b|(?<=, )"(\w+)"/g)].map(
    ([, name, key]) => key ?? names[name as keyof typeof names],
  );
  const twoWay = [...spec.matchAll(/route\("(\w+)", RouteResponse::TwoWay\)/g)].map((match) => match[1]);
  const routes = resources(json('dev', 'Probe'), 'AWS::ApiGatewayV2::Route').map((route) => route.Properties ?? {});
  const keys = (of: typeof routes) => of.map((route) => route.RouteKey).sort();
  const twoWayRoutes = routes.filter((route) => route.RouteResponseSelectionExpression === '$default');
  assert.deepEqual(keys(routes), [...oneWay, ...twoWay].sort());
  assert.deepEqual(keys(twoWayRoutes), twoWay);
  assert.ok(routes.every((route) => route.AuthorizationType === 'NONE'));
  probe.resourceCountIs('AWS::ApiGatewayV2::RouteResponse', twoWay.length);
  probe.resourceCountIs('AWS::ApiGatewayV2::Authorizer', 0);
  const selection = /selection: "([^"]+)"/.exec(spec)?.[1];
  probe.hasResourceProperties('AWS::ApiGatewayV2::Api', { RouteSelectionExpression: selection });
  probe.hasResourceProperties('AWS::ApiGatewayV2::Stage', { StageName: /stage: "(\w+)"/.exec(spec)?.[1] });
});

test('the stage is throttled, because its URL is not secret', () => {
  probe.hasResourceProperties('AWS::ApiGatewayV2::Stage', {
    DefaultRouteSettings: { ThrottlingBurstLimit: 200, ThrottlingRateLimit: 100 },
  });
});

test('the table has the key and TTL attribute of the function', () => {
  const table = source('tests/probe/src/stage/table.rs');
  const names = source('tests/probe/src/names.rs');
  assert.match(names, new RegExp(`const CONNECTION_KEY: &str = "${PROBE.partitionKey.name}"`));
  assert.match(table, new RegExp(`const EXPIRY_ATTRIBUTE: &str = "${PROBE.expiry}"`));
  assert.match(names, new RegExp(`const TABLE_VARIABLE: &str = "${PROBE.tableVariable}"`));
  probe.hasResourceProperties('AWS::DynamoDB::GlobalTable', {
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: PROBE.partitionKey.name, KeyType: 'HASH' }],
    TimeToLiveSpecification: { AttributeName: PROBE.expiry, Enabled: true },
  });
  const calls = [...table.matchAll(/\.(put|get|update|delete|batch_\w+|transact_\w+)_item\(\)|\.(query|scan)\(\)/g)];
  const verbs = calls.map(([, verb = '']) => `${verb.charAt(0).toUpperCase()}${verb.slice(1)}Item`);
  assert.deepEqual(verbs.sort(), [...PROBE.verbs].sort());
});

test('the function has permissions for its table, stage and log only', () => {
  const statements = resources(json('dev', 'Probe'), 'AWS::IAM::Policy').flatMap(
    ({ Properties: properties }) =>
      (properties as { PolicyDocument: { Statement: { Action: string | string[]; Resource: unknown }[] } })
        .PolicyDocument.Statement,
  );
  const actions = statements.flatMap(({ Action: action }) => action).sort();
  const table = PROBE.verbs.map((verb) => `dynamodb:${verb}`);
  const log = ['logs:CreateLogStream', 'logs:PutLogEvents'];
  assert.deepEqual(actions, [...table, 'execute-api:ManageConnections', ...log].sort());
  assert.ok(statements.every(({ Resource: resource }) => resource !== '*'));
  const managing = statements.find(({ Action: action }) => action === 'execute-api:ManageConnections');
  const arns = [managing?.Resource].flat().map((resource) => JSON.stringify(resource));
  assert.deepEqual(
    arns.map((arn) => /"Ref":"Api[0-9A-F]{8}"}.*\/prod\/([A-Z]+)\/@connections\/\*/.exec(arn)?.[1]).sort(),
    [...PROBE.managementVerbs].sort(),
  );
});

test('the timeout of the function is the integration timeout', () => {
  probe.resourceCountIs('AWS::Lambda::Function', 1);
  probe.hasResourceProperties('AWS::Lambda::Function', {
    Architectures: ['arm64'],
    Runtime: 'provided.al2023',
    Timeout: 29,
    Environment: { Variables: { [PROBE.tableVariable]: Match.anyValue() } },
  });
});

test('deleting the stack deletes all resources, and logs expire after a day', () => {
  const all = json('dev', 'Probe');
  for (const type of ['AWS::DynamoDB::GlobalTable', 'AWS::Logs::LogGroup']) {
    const policies = resources(all, type).map((resource) => resource.DeletionPolicy);
    assert.deepEqual(policies, ['Delete'], type);
  }
  probe.allResourcesProperties('AWS::Logs::LogGroup', { RetentionInDays: 1 });
  probe.hasOutput('SocketUrl', {});
});

test('production has no probe', () => {
  const props = { environment: findEnvironment('prod'), code: Code.fromInline('unused') };
  assert.throws(() => new ProbeStack(new App(), 'Probe', props), /not permitted in environment 'prod'/);
});
