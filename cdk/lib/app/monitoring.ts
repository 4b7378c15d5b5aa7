/**
 * Alarms and dashboard of the application.
 *
 * Alarms go to a topic, and by mail to the configured address. Missing data does not alarm: an idle application is
 * healthy. There is no dead-letter queue to watch, because no function is invoked asynchronously.
 */
import { Duration } from 'aws-cdk-lib';
import type { HttpApi, WebSocketStage } from 'aws-cdk-lib/aws-apigatewayv2';
import { Dashboard, GraphWidget, type IMetric, Metric, Stats, TextWidget } from 'aws-cdk-lib/aws-cloudwatch';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import type { Function as Lambda } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { capitalized, type FunctionName, type TableName } from '../names';
import { AlarmTopic } from './alarm-topic';

/** Resources to monitor. */
export interface MonitoringProps {
  readonly environment: Environment;
  readonly alarmEmail: string | undefined;
  readonly functions: readonly (readonly [FunctionName, Lambda])[];
  readonly tables: readonly (readonly [TableName, TableV2])[];
  readonly socketStage: WebSocketStage;
  readonly pushApi: HttpApi;
}

const PERIOD = Duration.minutes(1);

/** Alarm threshold of the p99 duration in milliseconds: a longer handshake or `ack` is noticeable to users. */
const P99_THRESHOLD_MS: Readonly<Record<FunctionName, number>> = {
  authorizer: 1000,
  connect: 1000,
  disconnect: 5000,
  message: 1000,
  api: 5000,
};

/** Alarms and dashboard of one environment. */
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

  /** Name of the dashboard. */
  get dashboardName(): string {
    return this.dashboard.dashboardName;
  }

  /** ARN of the topic of alarms. */
  get topicArn(): string {
    return this.topic.arn;
  }

  private watchSockets(): void {
    const metric = (name: string, statistic: string) =>
      this.props.socketStage.metric(name, { statistic, period: PERIOD });
    const integrationErrors = metric('IntegrationError', Stats.SUM);
    const executionErrors = metric('ExecutionError', Stats.SUM);
    this.topic.addAlarm('SocketIntegrationErrors', 'A function returned an error to API Gateway', integrationErrors, 1);
    this.topic.addAlarm('SocketExecutionErrors', 'API Gateway failed to run a WebSocket request', executionErrors, 1);
    this.graph('Sockets', [metric('ConnectCount', Stats.SUM), metric('MessageCount', Stats.SUM)]);
    this.graph('Socket errors', [metric('ClientError', Stats.SUM), integrationErrors, executionErrors]);
  }

  private watchPushApi(): void {
    const { pushApi } = this.props;
    const failures = pushApi.metricServerError({ period: PERIOD, statistic: Stats.SUM });
    this.topic.addAlarm('PushServerErrors', 'The HTTP API returns 5xx responses', failures, 5);
    this.graph('HTTP API', [
      pushApi.metricCount({ period: PERIOD }),
      pushApi.metricClientError({ period: PERIOD, statistic: Stats.SUM }),
      failures,
    ]);
  }

  private watchFunctions(): void {
    const { functions } = this.props;
    for (const [name, lambda] of functions) {
      const title = capitalized(name);
      const sum = { period: PERIOD, statistic: Stats.SUM };
      this.topic.addAlarm(`${title}Errors`, `Function ${name} returns errors`, lambda.metricErrors(sum), 1);
      this.topic.addAlarm(`${title}Throttles`, `Function ${name} is throttled`, lambda.metricThrottles(sum), 1);
      const slow = lambda.metricDuration({ period: PERIOD, statistic: Stats.p(99) });
      this.topic.addAlarm(`${title}Slow`, `Function ${name} is slow (p99, ms)`, slow, P99_THRESHOLD_MS[name], 5);
    }
    const perFunction = (metricOf: (lambda: Lambda, label: string) => IMetric) =>
      functions.map(([name, lambda]) => metricOf(lambda, name));
    this.graph(
      'Errors and throttles',
      perFunction((lambda, label) => lambda.metricErrors({ period: PERIOD, label })).concat(
        perFunction((lambda, label) => lambda.metricThrottles({ period: PERIOD, label: `${label} throttled` })),
      ),
    );
    this.graph(
      'Duration p99 (ms)',
      perFunction((lambda, label) => lambda.metricDuration({ period: PERIOD, statistic: Stats.p(99), label })),
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
        const title = capitalized(name);
        this.topic.addAlarm(`${title}${event}`, `DynamoDB throttles the table of ${name}`, metric, 1);
        return metric.with({ label: `${name} ${event}` });
      }),
    );
    this.graph('DynamoDB throttles', throttles);
  }

  private graph(title: string, left: readonly IMetric[]): void {
    this.dashboard.addWidgets(new GraphWidget({ title, left: [...left], width: 12, height: 6 }));
  }
}
