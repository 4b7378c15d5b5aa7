/**
 * The WebSocket API: `$connect` behind the authorizer, `$disconnect`, and one two-way route for all messages
 * (`docs/adr/0001-two-way-message-route.md`), the same definition that the shim plays.
 *
 * The authorizer has no identity source on purpose. A token comes in a header, in `Sec-WebSocket-Protocol` or in the
 * query, and API Gateway refuses a handshake that lacks *any one* of the sources listed ("Lambda authorizers", API
 * Gateway guide); with none listed the function decides. WebSocket APIs know neither X-Ray nor AWS WAF.
 */
import { Stack } from 'aws-cdk-lib';
import { WebSocketApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketLambdaAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Grant } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { setAsideWithin } from '../nag';
import { type FunctionName, MANAGEMENT_VERBS, VARIABLES } from '../names';
import { AccessLog } from './access-log';
import type { Functions } from './functions';
import type { Host } from './host';

/** What the WebSocket API is made of. */
export interface SocketApiProps {
  readonly environment: Environment;
  readonly functions: Functions;
  readonly host: Host | undefined;
}

/** The WebSocket API and its one stage. */
export class SocketApi extends Construct {
  readonly api: WebSocketApi;
  readonly stage: WebSocketStage;
  /** Where clients connect. */
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
      setAsideWithin(
        route,
        'APIG4',
        'API Gateway authorizes a WebSocket once, at $connect; other routes cannot have an authorizer.',
      );
    }
    connect.node.addDependency(functions);
  }

  /** Each function that talks to clients may use its own verbs of `@connections`, on this API and stage alone. */
  private grantManagement(): void {
    for (const [name, lambda] of this.props.functions.all) {
      const verbs = MANAGEMENT_VERBS[name] ?? [];
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
      setAsideWithin(lambda.role ?? lambda, 'IAM5', 'The id of a connection is not known before it connects.', [
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
