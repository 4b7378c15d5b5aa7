/**
 * What wakes somebody up, and the one page they look at first.
 *
 * Alarms go to a topic, and from there by mail when an address is given. Missing data never alarms: an idle application
 * is a healthy one. There is no alarm on a dead-letter queue, because nothing here is invoked asynchronously.
 */
import { Duration } from 'aws-cdk-lib';
import type { HttpApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { Dashboard, GraphWidget, type IMetric, Metric, Stats, TextWidget } from 'aws-cdk-lib/aws-cloudwatch';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import type { Function as Lambda } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { type FunctionName, type TableName, titled } from '../names';
import { AlarmTopic } from './alarm-topic';

/** What is watched. */
export interface MonitoringProps {
  readonly environment: Environment;
  readonly alarmEmail: string | undefined;
  readonly functions: readonly (readonly [FunctionName, Lambda])[];
  readonly tables: readonly (readonly [TableName, TableV2])[];
  readonly socketStage: WebSocketStage;
  readonly pushApi: HttpApi;
}

const PERIOD = Duration.minutes(1);

/** A p99 above this many milliseconds is noticed by the person who typed: a handshake or an ack. */
const SLOW_P99: Readonly<Record<FunctionName, number>> = {
  authorizer: 1000,
  connect: 1000,
  disconnect: 5000,
  message: 1000,
  api: 5000,
};

/** Alarms and dashboard. */
export class Monitoring extends Construct {
  private readonly topic: AlarmTopic;
  private readonly dashboard: Dashboard;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: MonitoringProps,
  ) {
    super(scope, id);
    this.topic = new AlarmTopic(this, 'Alarms', props.alarmEmail);
    this.dashboard = new Dashboard(this, 'Dashboard', { defaultInterval: Duration.hours(3) });
    this.dashboard.addWidgets(
      new TextWidget({ markdown: `# Twinway · ${props.environment.name}`, width: 24, height: 1 }),
    );
    this.watchSockets();
    this.watchPushApi();
    this.watchFunctions();
    this.watchTables();
  }

  /** The name of the dashboard. */
  get dashboardName(): string {
    return this.dashboard.dashboardName;
  }

  /** The topic that alarms go to. */
  get topicArn(): string {
    return this.topic.arn;
  }

  private watchSockets(): void {
    const metric = (name: string, statistic: string) =>
      this.props.socketStage.metric(name, { statistic, period: PERIOD });
    const integrationErrors = metric('IntegrationError', Stats.SUM);
    const executionErrors = metric('ExecutionError', Stats.SUM);
    this.topic.raise('SocketIntegrationErrors', 'API Gateway got an error from a function', integrationErrors, 1);
    this.topic.raise('SocketExecutionErrors', 'API Gateway itself failed a WebSocket request', executionErrors, 1);
    this.graph('Sockets', [metric('ConnectCount', Stats.SUM), metric('MessageCount', Stats.SUM)]);
    this.graph('Socket errors', [metric('ClientError', Stats.SUM), integrationErrors, executionErrors]);
  }

  private watchPushApi(): void {
    const { pushApi } = this.props;
    const failures = pushApi.metricServerError({ period: PERIOD, statistic: Stats.SUM });
    this.topic.raise('PushServerErrors', 'The HTTP API answers 5xx', failures, 5);
    this.graph('HTTP API', [
      pushApi.metricCount({ period: PERIOD }),
      pushApi.metricClientError({ period: PERIOD, statistic: Stats.SUM }),
      failures,
    ]);
  }

  private watchFunctions(): void {
    const { functions } = this.props;
    for (const [name, lambda] of functions) {
      const title = titled(name);
      const sum = { period: PERIOD, statistic: Stats.SUM };
      this.topic.raise(`${title}Errors`, `Function ${name} fails`, lambda.metricErrors(sum), 1);
      this.topic.raise(`${title}Throttles`, `Function ${name} is throttled`, lambda.metricThrottles(sum), 1);
      const slow = lambda.metricDuration({ period: PERIOD, statistic: Stats.p(99) });
      this.topic.raise(`${title}Slow`, `Function ${name} is slow (p99, ms)`, slow, SLOW_P99[name], 5);
    }
    const labelled = (make: (lambda: Lambda, label: string) => IMetric) =>
      functions.map(([name, lambda]) => make(lambda, name));
    this.graph(
      'Errors and throttles',
      labelled((lambda, label) => lambda.metricErrors({ period: PERIOD, label })).concat(
        labelled((lambda, label) => lambda.metricThrottles({ period: PERIOD, label: `${label} throttled` })),
      ),
    );
    this.graph(
      'Duration p99 (ms)',
      labelled((lambda, label) => lambda.metricDuration({ period: PERIOD, statistic: Stats.p(99), label })),
    );
  }

  private watchTables(): void {
    const throttles = this.props.tables.flatMap(([name, table]) =>
      (['ReadThrottleEvents', 'WriteThrottleEvents'] as const).map((event) => {
        const metric = new Metric({
          namespace: 'AWS/DynamoDB',
          metricName: event,
          dimensionsMap: { TableName: table.tableName },
          period: PERIOD,
          statistic: Stats.SUM,
        });
        const title = titled(name);
        this.topic.raise(`${title}${event}`, `DynamoDB throttles the table of ${name}`, metric, 1);
        return metric.with({ label: `${name} ${event}` });
      }),
    );
    this.graph('DynamoDB throttles', throttles);
  }

  private graph(title: string, left: readonly IMetric[]): void {
    this.dashboard.addWidgets(new GraphWidget({ title, left: [...left], width: 12, height: 6 }));
  }
}
