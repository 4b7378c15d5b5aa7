/**
 * The conformance suite's probes on a real stage: the standard API of `tests/src/conformance/spec.rs`, one function behind
 * all routes, one table for what clients told it.
 *
 * No part of the application and never beside it in one synthesis: whoever knows the address may tell the function what to
 * answer, so the stack is deployed for a run and removed after it. Everything in it goes with it.
 */
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { WebSocketApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Billing, TableEncryptionV2, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, type Code, Function as Lambda, LoggingFormat, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { Environment } from './environments';
import { setAsideWithin } from './nag';
import { PROBE } from './names';

/** What the probes are deployed with. */
export interface ProbeStackProps extends StackProps {
  readonly environment: Environment;
  readonly code: Code;
}

/** As long as API Gateway waits for an integration ("API Gateway quotas", WebSocket APIs): cases wait for its own end. */
const TIMEOUT = Duration.seconds(29);

/** The probes. */
export class ProbeStack extends Stack {
  constructor(
    scope: Construct,
    id: string,
    private readonly props: ProbeStackProps,
  ) {
    super(scope, id, props);
    const { environment } = props;
    if (environment.data === 'retained') {
      throw new Error(`the probes let strangers choose answers: not in environment '${environment.name}'`);
    }
    const table = this.table();
    const lambda = this.lambda(table);
    const api = this.api(lambda);
    const stage = new WebSocketStage(this, 'Stage', {
      webSocketApi: api,
      stageName: PROBE.stage,
      autoDeploy: true,
      throttle: { rateLimit: environment.throttle.rate, burstLimit: environment.throttle.burst },
    });
    setAsideWithin(
      stage,
      'APIG1',
      'Access logs need a role of the whole account; the suite records every event itself.',
    );
    this.grantManagement(lambda, api);
    new CfnOutput(this, 'SocketUrl', {
      key: 'SocketUrl',
      value: stage.url,
      description: 'conformance --url takes this',
    });
  }

  private table(): TableV2 {
    const table = new TableV2(this, 'Directives', {
      partitionKey: PROBE.partitionKey,
      billing: Billing.onDemand(),
      timeToLiveAttribute: PROBE.expiry,
      encryption: TableEncryptionV2.dynamoOwnedKey(),
      removalPolicy: RemovalPolicy.DESTROY,
    });
    setAsideWithin(table, 'DDB3', 'What clients said lives as long as their connections; there is nothing to restore.');
    return table;
  }

  private lambda(table: TableV2): Lambda {
    const logGroup = new LogGroup(this, 'Logs', {
      retention: RetentionDays.ONE_DAY,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    Grant.addToPrincipal({
      grantee: role,
      actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
      resourceArns: [logGroup.logGroupArn],
    }).assertSuccess();
    const lambda = new Lambda(this, 'Function', {
      description: 'Records every event and answers as the client told it',
      runtime: Runtime.PROVIDED_AL2023,
      architecture: Architecture.ARM_64,
      handler: 'bootstrap',
      code: this.props.code,
      memorySize: this.props.environment.functionMemory,
      timeout: TIMEOUT,
      loggingFormat: LoggingFormat.JSON,
      environment: { [PROBE.tableVariable]: table.tableName },
      logGroup,
      role,
    });
    const actions = PROBE.verbs.map((verb) => `dynamodb:${verb}`);
    Grant.addToPrincipal({ grantee: lambda, actions, resourceArns: [table.tableArn] }).assertSuccess();
    return lambda;
  }

  private api(lambda: Lambda): WebSocketApi {
    const api = new WebSocketApi(this, 'Api', {
      description: `Twinway conformance probes (${this.props.environment.name})`,
      routeSelectionExpression: PROBE.selection,
    });
    const integration = new WebSocketLambdaIntegration('Probe', lambda);
    for (const key of PROBE.routes) {
      const route = api.addRoute(key, { integration, returnResponse: key === PROBE.twoWayRoute });
      setAsideWithin(
        route,
        'APIG4',
        'The standard API of the suite has no authorizer: cases measure the gateway alone.',
      );
    }
    return api;
  }

  /** The verbs of `@connections`, on this API and stage alone: cases have the function call each of them. */
  private grantManagement(lambda: Lambda, api: WebSocketApi): void {
    const resourceArns = PROBE.managementVerbs.map((verb) =>
      this.formatArn({ service: 'execute-api', resource: `${api.apiId}/${PROBE.stage}/${verb}/@connections/*` }),
    );
    const actions = ['execute-api:ManageConnections'];
    Grant.addToPrincipal({ grantee: lambda, actions, resourceArns }).assertSuccess();
    setAsideWithin(lambda.role ?? lambda, 'IAM5', 'The id of a connection is not known before it connects.', [
      { regex: '/^Resource::arn:aws:execute-api:.*/@connections/\\*$/' },
    ]);
  }
}
