/**
 * WebSocket API: `$connect` with the authorizer, `$disconnect`, and one two-way route for all messages
 * (`docs/adr/0001-two-way-message-route.md`); the same definition as the shim's.
 *
 * The authorizer has no identity source. A token is in a header, in `Sec-WebSocket-Protocol` or in the query, and API
 * Gateway rejects a handshake in which *any one* of the listed sources is missing ("Lambda authorizers", API Gateway
 * guide); without a listed source the function decides. WebSocket APIs support neither X-Ray nor AWS WAF.
 */
import { Stack } from 'aws-cdk-lib';
import { WebSocketApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketLambdaAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Grant } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRuleWithin } from '../nag';
import { type FunctionName, MANAGEMENT_METHODS, VARIABLES } from '../names';
import { AccessLog } from './access-log';
import type { Functions } from './functions';
import type { Host } from './host';

/** Properties of the WebSocket API. */
export interface SocketApiProps {
  readonly environment: Environment;
  readonly functions: Functions;
  readonly host: Host | undefined;
}

/** WebSocket API with its only stage. */
export class SocketApi extends Construct {
  readonly api: WebSocketApi;
  readonly stage: WebSocketStage;
  /** URL for clients. */
  readonly url: string;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: SocketApiProps,
  ) {
    super(scope, id);
    const { environment, host } = props;
    this.api = new WebSocketApi(this, 'Api', {
      description: `Twinway WebSocket API (${environment.name})`,
      routeSelectionExpression: '$request.body.action',
    });
    this.addRoutes();
    this.stage = new WebSocketStage(this, 'Stage', {
      webSocketApi: this.api,
      stageName: environment.stage,
      autoDeploy: true,
      throttle: { rateLimit: environment.throttle.rate, burstLimit: environment.throttle.burst },
      detailedMetricsEnabled: true,
      accessLogSettings: new AccessLog(this, 'AccessLog', environment, 'socket').settings,
      ...(host === undefined ? {} : { domainMapping: { domainName: host.domain, mappingKey: environment.stage } }),
    });
    this.url = host === undefined ? this.stage.url : `wss://${host.name}/${environment.stage}`;
    this.grantManagement();
  }

  private addRoutes(): void {
    const { functions } = this.props;
    const integration = (name: FunctionName) => new WebSocketLambdaIntegration(name, functions.named(name));
    const connect = this.api.addRoute('$connect', {
      integration: integration('connect'),
      authorizer: new WebSocketLambdaAuthorizer('Authorizer', functions.named('authorizer'), { identitySource: [] }),
    });
    const disconnect = this.api.addRoute('$disconnect', { integration: integration('disconnect') });
    const messages = this.api.addRoute('$default', { integration: integration('message'), returnResponse: true });
    for (const route of [disconnect, messages]) {
      suppressRuleWithin(
        route,
        'APIG4',
        'API Gateway authorizes a WebSocket once, at $connect; other routes cannot have an authorizer.',
      );
    }
    connect.node.addDependency(functions);
  }

  /** Grants each function that calls `@connections` its methods, on this API and stage only. */
  private grantManagement(): void {
    for (const [name, lambda] of this.props.functions.all) {
      const verbs = MANAGEMENT_METHODS[name] ?? [];
      if (verbs.length === 0) {
        continue;
      }
      lambda.addEnvironment(VARIABLES.managementEndpoint, this.stage.callbackUrl);
      const resourceArns = verbs.map((verb) => this.managementArn(verb));
      const grant = Grant.addToPrincipal({
        grantee: lambda,
        actions: ['execute-api:ManageConnections'],
        resourceArns,
      });
      grant.assertSuccess();
      suppressRuleWithin(lambda.role ?? lambda, 'IAM5', 'Connection ids are not known at deployment.', [
        { regex: '/^Resource::arn:aws:execute-api:.*/@connections/\\*$/' },
      ]);
    }
  }

  private managementArn(verb: string): string {
    const { environment } = this.props;
    const resource = `${this.api.apiId}/${environment.stage}/${verb}/@connections/*`;
    return Stack.of(this).formatArn({ service: 'execute-api', resource });
  }
}
