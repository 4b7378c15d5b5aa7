/** Tests of the application's stack: API Gateway, functions, tables and permissions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Match } from 'aws-cdk-lib/assertions';
import {
  capitalized,
  FUNCTION_NAMES,
  GRANTS,
  limitVariable,
  MANAGEMENT_METHODS,
  TABLES,
  VERIFIES_CALLERS,
} from '../lib/names';
import { json, resources, template } from './synthesized';

const app = template('prod', 'App');
const dev = template('dev', 'App');

test('messages go to one two-way route, selected as the shim selects', () => {
  app.hasResourceProperties('AWS::ApiGatewayV2::Api', {
    ProtocolType: 'WEBSOCKET',
    RouteSelectionExpression: '$request.body.action',
  });
  app.hasResourceProperties('AWS::ApiGatewayV2::Route', {
    RouteKey: '$default',
    RouteResponseSelectionExpression: '$default',
  });
  app.hasResourceProperties('AWS::ApiGatewayV2::RouteResponse', { RouteResponseKey: '$default' });
  app.resourceCountIs('AWS::ApiGatewayV2::RouteResponse', 1);
});

test('only $connect is authorized, and no identity source is required', () => {
  app.hasResourceProperties('AWS::ApiGatewayV2::Route', { RouteKey: '$connect', AuthorizationType: 'CUSTOM' });
  app.hasResourceProperties('AWS::ApiGatewayV2::Route', { RouteKey: '$disconnect', AuthorizationType: 'NONE' });
  app.hasResourceProperties('AWS::ApiGatewayV2::Authorizer', { AuthorizerType: 'REQUEST', IdentitySource: [] });
});

test('both stages throttle, count and log, without addresses, query strings or headers', () => {
  const stages = resources(json('prod', 'App'), 'AWS::ApiGatewayV2::Stage');
  assert.equal(stages.length, 2);
  for (const stage of stages) {
    const settings = stage.Properties as {
      DefaultRouteSettings: Record<string, unknown>;
      AccessLogSettings: { Format: string };
    };
    assert.deepEqual(settings.DefaultRouteSettings, {
      DetailedMetricsEnabled: true,
      ThrottlingBurstLimit: 2500,
      ThrottlingRateLimit: 5000,
    });
    const { Format: format } = settings.AccessLogSettings;
    assert.doesNotMatch(format, /sourceIp|userAgent|querystring|header|authorizer\.(claims|principalId)/i);
    assert.ok(Buffer.byteLength(format) < 3 * 1024, 'a format has at most 3 KB (API Gateway quotas)');
    assert.equal(typeof JSON.parse(format), 'object');
  }
});

test('the five functions are arm64 on al2023, traced, and time out before the 29 seconds of an integration', () => {
  const functions = resources(json('prod', 'App'), 'AWS::Lambda::Function');
  assert.equal(functions.length, FUNCTION_NAMES.length);
  for (const { Properties: properties } of functions) {
    assert.deepEqual(properties?.Architectures, ['arm64']);
    assert.equal(properties?.Runtime, 'provided.al2023');
    assert.deepEqual(properties?.TracingConfig, { Mode: 'Active' });
    assert.ok(Number(properties?.Timeout) < 29);
  }
});

test('the tables have the keys and indexes of the adapters', () => {
  for (const shape of Object.values(TABLES)) {
    app.hasResourceProperties('AWS::DynamoDB::GlobalTable', {
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: [
        { AttributeName: shape.partitionKey.name, KeyType: 'HASH' },
        { AttributeName: shape.sortKey.name, KeyType: 'RANGE' },
      ],
      AttributeDefinitions: Match.arrayWith([{ AttributeName: shape.sortKey.name, AttributeType: shape.sortKey.type }]),
      TimeToLiveSpecification: { AttributeName: shape.expiry, Enabled: true },
      Replicas: [Match.objectLike({ PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true } })],
    });
  }
  for (const [index, keys] of Object.entries(TABLES.connections.indexes)) {
    app.hasResourceProperties('AWS::DynamoDB::GlobalTable', {
      GlobalSecondaryIndexes: Match.arrayWith([
        {
          IndexName: index,
          KeySchema: [
            { AttributeName: keys.partitionKey.name, KeyType: 'HASH' },
            { AttributeName: keys.sortKey.name, KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'ALL' },
        },
      ]),
    });
  }
});

/** The policy statements of a function's role. */
function statements(name: string): readonly { Action: string | string[]; Resource: unknown; Sid?: string }[] {
  return Object.entries(json('prod', 'App').Resources)
    .filter(
      ([id, resource]) => resource.Type === 'AWS::IAM::Policy' && id.startsWith(`Functions${capitalized(name)}Role`),
    )
    .flatMap(([, { Properties: properties }]) => {
      const { PolicyDocument: document } = properties as {
        PolicyDocument: { Statement: readonly { Action: string | string[]; Resource: unknown }[] };
      };
      return document.Statement;
    });
}

const actions = (name: string) => statements(name).flatMap(({ Action: action }) => action);

for (const name of FUNCTION_NAMES) {
  test(`${name} has exactly the listed permissions`, () => {
    const tables = Object.values(GRANTS[name]).flatMap(({ table, indexes }) => [
      ...table.map((verb) => `dynamodb:${verb}`),
      ...(indexes.length > 0 ? ['dynamodb:Query'] : []),
    ]);
    const management = MANAGEMENT_METHODS[name] === undefined ? [] : ['execute-api:ManageConnections'];
    const secrets = VERIFIES_CALLERS.has(name) ? ['secretsmanager:GetSecretValue'] : [];
    const base = ['logs:CreateLogStream', 'logs:PutLogEvents', 'xray:PutTelemetryRecords', 'xray:PutTraceSegments'];
    assert.deepEqual(new Set(actions(name)), new Set([...tables, ...management, ...secrets, ...base]));
    assert.ok(!actions(name).some((action) => action.includes('*') || action.includes('Scan')));
  });

  test(`${name} manages connections of this API and stage only`, () => {
    const managing = statements(name).filter(({ Action: action }) => action === 'execute-api:ManageConnections');
    const arns = managing.flatMap(({ Resource: resource }) => resource).map((resource) => JSON.stringify(resource));
    assert.deepEqual(
      arns.map((arn) => /\/prod\/([A-Z]+)\/@connections\/\*/.exec(arn)?.[1]).sort(),
      [...(MANAGEMENT_METHODS[name] ?? [])].sort(),
    );
    assert.ok(arns.every((arn) => arn.includes('"Ref":"SocketsApi')));
  });
}

test('production retains its data, and the development environment deletes it with the stack', () => {
  const policies = (environment: string) =>
    resources(json(environment, 'App'), 'AWS::DynamoDB::GlobalTable').map((table) => table.DeletionPolicy);
  assert.deepEqual(policies('prod'), ['Retain', 'Retain']);
  assert.deepEqual(policies('dev'), ['Delete', 'Delete']);
  app.allResourcesProperties('AWS::DynamoDB::GlobalTable', {
    Replicas: [Match.objectLike({ DeletionProtectionEnabled: true })],
  });
});

test('every function has alarms on errors, throttles and p99, every table on throttles, both APIs on failures', () => {
  const watched = resources(json('prod', 'App'), 'AWS::CloudWatch::Alarm').map(({ Properties: properties }) =>
    [properties?.Namespace, properties?.MetricName, properties?.ExtendedStatistic ?? ''].join(' ').trim(),
  );
  const count = (metric: string) => watched.filter((name) => name === metric).length;
  for (const metric of ['AWS/Lambda Errors', 'AWS/Lambda Throttles', 'AWS/Lambda Duration p99']) {
    assert.equal(count(metric), FUNCTION_NAMES.length, metric);
  }
  for (const metric of ['AWS/DynamoDB ReadThrottleEvents', 'AWS/DynamoDB WriteThrottleEvents']) {
    assert.equal(count(metric), Object.keys(TABLES).length, metric);
  }
  for (const metric of ['IntegrationError', 'ExecutionError', '5xx'].map((name) => `AWS/ApiGateway ${name}`)) {
    assert.equal(count(metric), 1, metric);
  }
  app.resourceCountIs('AWS::CloudWatch::Dashboard', 1);
});

test('logs have the retention of the environment', () => {
  dev.allResourcesProperties('AWS::Logs::LogGroup', { RetentionInDays: 7 });
  app.allResourcesProperties('AWS::Logs::LogGroup', { RetentionInDays: 90 });
});

test('no template or function contains a secret, and functions that verify callers may read theirs', () => {
  const text = JSON.stringify(json('prod', 'App'));
  assert.doesNotMatch(text, /\{\{resolve:(secretsmanager|ssm)/);
  assert.doesNotMatch(text, /"SecretString"/);
  const secrets = Object.entries(json('prod', 'App').Resources).filter(
    ([, resource]) => resource.Type === 'AWS::SecretsManager::Secret',
  );
  assert.equal(secrets.length, 1);
  for (const name of VERIFIES_CALLERS) {
    assert.deepEqual(variables('prod', name).TWINWAY_AUTH_SECRET_ARN, { Ref: secrets[0]?.[0] });
    const reading = statements(name).filter(({ Action: action }) => `${action}`.startsWith('secretsmanager:'));
    assert.deepEqual(
      reading.map(({ Resource: resource }) => resource),
      [{ Ref: secrets[0]?.[0] }],
    );
  }
});

test('with an identity provider there is no signing secret, and functions that verify have its key set and claims', () => {
  assert.equal(resources(json('staging', 'App'), 'AWS::SecretsManager::Secret').length, 0);
  for (const name of VERIFIES_CALLERS) {
    const { TWINWAY_AUTH_SECRET_ARN: secret, ...settings } = variables('staging', name);
    assert.equal(secret, undefined);
    assert.equal(settings.TWINWAY_AUTH_JWKS_URL, 'https://idp.example.com/jwks.json');
    assert.equal(settings.TWINWAY_AUTH_ISSUER, 'https://idp.example.com/');
    assert.equal(settings.TWINWAY_AUTH_AUDIENCE, 'twinway');
    assert.equal(settings.TWINWAY_AUTH_ROLE_CLAIM, 'cognito:groups');
    assert.match(`${settings.TWINWAY_AUTH_API_KEYS_ARN}`, /^arn:aws:secretsmanager:/);
  }
});

test('configured limits are variables of all functions that access the stores', () => {
  for (const name of FUNCTION_NAMES) {
    const expected = name === 'authorizer' ? undefined : '4KiB';
    assert.equal(variables('staging', name)[limitVariable('body_bytes')], expected, name);
    assert.equal(variables('prod', name)[limitVariable('body_bytes')], undefined, name);
  }
});

/** The environment variables of a function. */
function variables(environment: string, name: string): Readonly<Record<string, unknown>> {
  const found = Object.entries(json(environment, 'App').Resources).find(
    ([id, { Type: type }]) =>
      type === 'AWS::Lambda::Function' && id.startsWith(`Functions${capitalized(name)}Function`),
  );
  assert.ok(found, `no function ${name}`);
  return (found[1].Properties as { Environment: { Variables: Record<string, unknown> } }).Environment.Variables;
}

test('the front ends are served over HTTPS alone, from a bucket that only CloudFront can read', () => {
  app.hasResourceProperties('AWS::S3::Bucket', {
    PublicAccessBlockConfiguration: {
      BlockPublicAcls: true,
      BlockPublicPolicy: true,
      IgnorePublicAcls: true,
      RestrictPublicBuckets: true,
    },
  });
  app.resourceCountIs('AWS::CloudFront::OriginAccessControl', 1);
  app.hasResourceProperties('AWS::CloudFront::ResponseHeadersPolicy', {
    ResponseHeadersPolicyConfig: {
      SecurityHeadersConfig: Match.objectLike({
        ContentSecurityPolicy: {
          ContentSecurityPolicy: Match.stringLikeRegexp("connect-src 'self' wss://ws\\.example\\.com;"),
          Override: true,
        },
      }),
    },
  });
});

test('the outputs have all URLs for front ends and tests', () => {
  for (const key of ['SocketUrl', 'ManagementUrl', 'ApiUrl', 'WebUrl', 'WebBucket', 'WebDistribution']) {
    app.hasOutput(key, {});
    dev.hasOutput(key, {});
  }
  app.hasOutput('SocketUrl', { Value: 'wss://ws.example.com/prod' });
});

test('functions that run before authentication cannot use up the concurrency of the account', () => {
  for (const name of ['authorizer', 'api']) {
    app.hasResourceProperties('AWS::Lambda::Function', {
      Description: Match.stringLikeRegexp(name === 'api' ? 'HTTP API' : 'handshake'),
      ReservedConcurrentExecutions: 200,
    });
  }
  const reserved = resources(json('dev', 'App'), 'AWS::Lambda::Function').map(
    (lambda) => lambda.Properties?.ReservedConcurrentExecutions,
  );
  assert.deepEqual(new Set(reserved), new Set([undefined]), 'new accounts may have a concurrency of 10 only');
});

test('with a web ACL, the front ends limit the requests of each address', () => {
  template('prod', 'Edge').hasResourceProperties('AWS::WAFv2::WebACL', { Scope: 'CLOUDFRONT' });
  app.hasResourceProperties('AWS::CloudFront::Distribution', {
    DistributionConfig: Match.objectLike({ WebACLId: Match.anyValue() }),
  });
});
