/**
 * The serverless application on AWS: API Gateway, five Lambda functions, two tables, front ends.
 *
 * The stack consists of constructs and its outputs. It depends on no other stack.
 */
import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Credentials } from './app/credentials';
import type { FunctionCode } from './app/function-code';
import { Functions } from './app/functions';
import { GatewayAccount } from './app/gateway-account';
import { Host, hostNames } from './app/host';
import { Monitoring } from './app/monitoring';
import { PushApi } from './app/push-api';
import { SocketApi } from './app/socket-api';
import { Tables } from './app/tables';
import { WebSite } from './app/web-site';
import type { OperatorContext } from './context';
import type { Environment } from './environments';

/** Properties of the application's stack. */
export interface AppStackProps extends StackProps {
  readonly environment: Environment;
  readonly operator: OperatorContext;
  readonly code: FunctionCode;
  /** ARN of the web ACL of the front ends, if there is one. */
  readonly webAclArn: string | undefined;
}

/** The domain names of the application on API Gateway, if there is a zone. */
export interface GatewayHosts {
  readonly sockets: Host;
  readonly api: Host;
}

/** The application's stack. */
export class AppStack extends Stack {
  readonly hosts: GatewayHosts | undefined;

  constructor(scope: Construct, id: string, props: AppStackProps) {
    super(scope, id, props);
    const { environment, operator, code } = props;
    this.hosts = this.gatewayHosts(props);
    const tables = new Tables(this, 'Tables', environment);
    const credentials = new Credentials(this, 'Credentials', environment, operator.callers);
    const functions = new Functions(this, 'Functions', {
      environment,
      code,
      tables,
      credentials,
      limits: operator.limits,
      presenceNames: operator.presenceNames,
    });
    const sockets = new SocketApi(this, 'Sockets', { environment, functions, host: this.hosts?.sockets });
    const push = new PushApi(this, 'Push', { environment, functions, host: this.hosts?.api });
    const site = new WebSite(this, 'Web', { environment, sockets, push, webAclArn: props.webAclArn });
    const monitoring = new Monitoring(this, 'Monitoring', {
      environment,
      alarmEmail: operator.alarmEmail,
      functions: functions.all,
      tables: tables.all,
      socketStage: sockets.stage,
      pushApi: push.api,
    });
    if (operator.setsGatewayAccount) {
      sockets.stage.node.addDependency(new GatewayAccount(this, 'GatewayAccount'));
    }
    this.output('SocketUrl', sockets.url, 'URL for WebSocket clients');
    this.output('ManagementUrl', sockets.stage.callbackUrl, 'Endpoint of @connections, for AWS SDKs');
    this.output('ApiUrl', push.url, 'Base URL of the HTTP API, without /v1');
    this.output('WebUrl', `https://${site.distribution.distributionDomainName}`, 'URL of the front ends');
    this.output('WebBucket', site.bucket.bucketName, 'Bucket of the files of the front ends');
    this.output('WebDistribution', site.distribution.distributionId, 'Distribution to invalidate after publishing');
    this.output('ConnectionsTable', tables.nameOf('connections'), 'Table of connections');
    this.output('MessagesTable', tables.nameOf('messages'), 'Table of messages');
    this.output('AlarmTopic', monitoring.topicArn, 'SNS topic of alarms');
    this.output('Dashboard', monitoring.dashboardName, 'CloudWatch dashboard');
    if (credentials.signing !== undefined) {
      this.output('SigningSecret', credentials.signing.secretArn, 'Secret that signs tokens (HS256)');
    }
  }

  private gatewayHosts({ environment, operator }: AppStackProps): GatewayHosts | undefined {
    const { zone } = operator;
    if (zone === undefined) {
      return undefined;
    }
    const names = hostNames(environment, zone);
    return {
      sockets: new Host(this, 'SocketHost', names.sockets, zone),
      api: new Host(this, 'ApiHost', names.api, zone),
    };
  }

  private output(key: string, value: string, description: string): void {
    new CfnOutput(this, key, { key, value, description });
  }
}
