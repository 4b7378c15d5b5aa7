/**
 * Twinway on AWS without servers: API Gateway, five functions, two tables, front ends.
 *
 * The stack is a list of constructs and of what the outside reads: its outputs. It needs no other stack.
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

/** What an application is deployed with. */
export interface AppStackProps extends StackProps {
  readonly environment: Environment;
  readonly operator: OperatorContext;
  readonly code: FunctionCode;
}

/** The domain names of the application on API Gateway, where there is a zone. */
export interface GatewayHosts {
  readonly sockets: Host;
  readonly api: Host;
}

/** The application. */
export class AppStack extends Stack {
  readonly hosts: GatewayHosts | undefined;

  constructor(scope: Construct, id: string, props: AppStackProps) {
    super(scope, id, props);
    const { environment, operator, code } = props;
    this.hosts = this.gatewayHosts(props);
    const tables = new Tables(this, 'Tables', environment);
    const credentials = new Credentials(this, 'Credentials', environment, operator.callers);
    const functions = new Functions(this, 'Functions', { environment, code, tables, credentials });
    const sockets = new SocketApi(this, 'Sockets', { environment, functions, host: this.hosts?.sockets });
    const push = new PushApi(this, 'Push', { environment, functions, host: this.hosts?.api });
    const site = new WebSite(this, 'Web', environment, sockets, push);
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
    this.output('SocketUrl', sockets.url, 'Clients connect here');
    this.output('ManagementUrl', sockets.stage.callbackUrl, 'The endpoint of @connections, for AWS SDKs');
    this.output('ApiUrl', push.url, 'The HTTP API is under /v1 of this');
    this.output('WebUrl', `https://${site.distribution.distributionDomainName}`, 'The front ends');
    this.output('WebBucket', site.bucket.bucketName, 'The files of the front ends go here');
    this.output('WebDistribution', site.distribution.distributionId, 'To invalidate after publishing');
    this.output('ConnectionsTable', tables.nameOf('connections'), 'Who is connected');
    this.output('MessagesTable', tables.nameOf('messages'), 'The message log');
    this.output('AlarmTopic', monitoring.topicArn, 'Alarms are published here');
    this.output('Dashboard', monitoring.dashboardName, 'The CloudWatch dashboard');
    if (credentials.signing !== undefined) {
      this.output('SigningSecret', credentials.signing.secretArn, 'Tokens are signed with this secret (HS256)');
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
