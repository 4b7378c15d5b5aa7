/**
 * HTTP API for backends: one function handles all paths under `/v1` and reports errors as problem documents.
 *
 * There is one route for all endpoints, because the function implements them (`docs/openapi.yaml`) and reports unknown
 * ones; API Gateway would report them in its own format.
 */
import { HttpApi, HttpMethod, HttpStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRuleWithin } from '../nag';
import { AccessLog } from './access-log';
import type { Functions } from './functions';
import type { Host } from './host';

/** Properties of the HTTP API. */
export interface PushApiProps {
  readonly environment: Environment;
  readonly functions: Functions;
  readonly host: Host | undefined;
}

/** HTTP API with its only stage, whose name is not in the path. */
export class PushApi extends Construct {
  readonly api: HttpApi;
  readonly stage: HttpStage;
  /** Base URL of paths such as `/v1/messages`. */
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
      suppressRuleWithin(
        route,
        'APIG4',
        'The function itself verifies tokens and API keys, with the same code as a pod.',
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
