/**
 * The conformance suite's probe on an API Gateway stage: the standard API of `tests/src/conformance/spec.rs`, one
 * function for all routes, one table for the directives of clients.
 *
 * The probe is not part of the application and never in the same synthesis: any client that knows the URL controls the
 * function's responses, so the stack is deployed for a run and deleted after it, including all its resources.
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
import { suppressRuleWithin } from './nag';
import { PROBE } from './names';

/** Properties of the probe's stack. */
export interface ProbeStackProps extends StackProps {
  readonly environment: Environment;
  readonly code: Code;
}

/** Integration timeout of API Gateway ("API Gateway quotas", WebSocket APIs); some cases wait for it. */
const TIMEOUT = Duration.seconds(29);

/** The probe's stack. */
export class ProbeStack extends Stack {
  constructor(
    scope: Construct,
    id: string,
    private readonly props: ProbeStackProps,
  ) {
    super(scope, id, props);
    const { environment } = props;
    if (environment.data === 'retained') {
      throw new Error(
        `the probe lets any client control its responses: not permitted in environment '${environment.name}'`,
      );
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
    suppressRuleWithin(stage, 'APIG1', 'Access logs require an account-wide role; the suite records every event.');
    this.grantManagement(lambda, api);
    new CfnOutput(this, 'SocketUrl', {
      key: 'SocketUrl',
      value: stage.url,
      description: 'URL for conformance --url',
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
    suppressRuleWithin(
      table,
      'DDB3',
      'Directives of clients exist only during their connections; there is nothing to restore.',
    );
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
      description: 'Records every event and responds as the client directs',
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
      suppressRuleWithin(
        route,
        'APIG4',
        'The standard API of the suite has no authorizer: its cases test the gateway only.',
      );
    }
    return api;
  }

  /** Grants the methods of `@connections` on this API and stage only; cases call each of them. */
  private grantManagement(lambda: Lambda, api: WebSocketApi): void {
    const resourceArns = PROBE.managementVerbs.map((verb) =>
      this.formatArn({ service: 'execute-api', resource: `${api.apiId}/${PROBE.stage}/${verb}/@connections/*` }),
    );
    const actions = ['execute-api:ManageConnections'];
    Grant.addToPrincipal({ grantee: lambda, actions, resourceArns }).assertSuccess();
    suppressRuleWithin(lambda.role ?? lambda, 'IAM5', 'Connection ids are not known at deployment.', [
      { regex: '/^Resource::arn:aws:execute-api:.*/@connections/\\*$/' },
    ]);
  }
}
