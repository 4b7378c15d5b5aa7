/**
 * The access log of an API: one JSON record per request, retained for the environment's log retention.
 *
 * The record contains no address, query string or header: query string and headers may contain a token.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import { type IAccessLogSettings, LogGroupLogDestination } from 'aws-cdk-lib/aws-apigatewayv2';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Environment } from '../environments';

/** Fields of both kinds of API ("$context variables", API Gateway guide). */
const COMMON_FIELDS = {
  requestId: '$context.requestId',
  time: '$context.requestTimeEpoch',
  routeKey: '$context.routeKey',
  status: '$context.status',
  integrationLatency: '$context.integrationLatency',
  error: '$context.error.responseType',
};

/** Additional fields of a WebSocket API. */
const SOCKET_FIELDS = {
  connectionId: '$context.connectionId',
  eventType: '$context.eventType',
  authorizerStatus: '$context.authorizer.status',
  integrationStatus: '$context.integration.status',
};

/** Additional fields of an HTTP API. */
const HTTP_FIELDS = {
  method: '$context.httpMethod',
  path: '$context.path',
  responseLength: '$context.responseLength',
  responseLatency: '$context.responseLatency',
};

/** Log group and access log settings of an API. */
export class AccessLog extends Construct {
  readonly settings: IAccessLogSettings;

  constructor(scope: Construct, id: string, environment: Environment, kind: 'socket' | 'http') {
    super(scope, id);
    const group = new LogGroup(this, 'Group', {
      retention: environment.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const fields = { ...COMMON_FIELDS, ...(kind === 'socket' ? SOCKET_FIELDS : HTTP_FIELDS) };
    this.settings = {
      destination: new LogGroupLogDestination(group),
      format: AccessLogFormat.custom(JSON.stringify(fields)),
    };
  }
}
