/**
 * The HTTP API for backends: everything under `/v1` goes to one function, which answers in problem documents.
 *
 * One route and not one an endpoint: the function knows its endpoints (`docs/openapi.yaml`) and says what is wrong with
 * an unknown one; API Gateway would answer those in a form of its own.
 */
import { HttpApi, HttpMethod, HttpStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { setAsideWithin } from '../nag';
import { AccessLog } from './access-log';
import type { Functions } from './functions';
import type { Host } from './host';

/** What the HTTP API is made of. */
export interface PushApiProps {
  readonly environment: Environment;
  readonly functions: Functions;
  readonly host: Host | undefined;
}

/** The HTTP API and its one stage, which has no name in the path. */
export class PushApi extends Construct {
  readonly api: HttpApi;
  readonly stage: HttpStage;
  /** What paths such as `/v1/messages` are appended to. */
  readonly url: string;

  constructor(scope: Construct, id: string, props: PushApiProps) {
    super(scope, id);
    const { environment, functions, host } = props;
    this.api = new HttpApi(this, 'Api', {
      description: `Twinway HTTP API (${environment.name})`,
      createDefaultStage: false,
    });
    const routes = this.api.addRoutes({
      path: '/v1/{proxy+}',
      methods: [HttpMethod.ANY],
      integration: new HttpLambdaIntegration('api', functions.named('api')),
    });
    for (const route of routes) {
      setAsideWithin(
        route,
        'APIG4',
        'The function takes tokens or API keys and verifies both itself, the same code as in a pod.',
      );
    }
    this.stage = new HttpStage(this, 'Stage', {
      httpApi: this.api,
      stageName: '$default',
      autoDeploy: true,
      throttle: { rateLimit: environment.throttle.rate, burstLimit: environment.throttle.burst },
      detailedMetricsEnabled: true,
      accessLogSettings: new AccessLog(this, 'AccessLog', environment, 'http').settings,
      ...(host === undefined ? {} : { domainMapping: { domainName: host.domain } }),
    });
    this.url = host === undefined ? this.api.apiEndpoint : `https://${host.name}`;
  }
}
