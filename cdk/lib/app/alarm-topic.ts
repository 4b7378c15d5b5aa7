/**
 * The SNS topic of alarms, and the properties common to all alarms.
 *
 * The topic has its own key, because CloudWatch cannot publish to a topic encrypted with `alias/aws/sns` ("Amazon SNS
 * key management", SNS guide). Texts of alarms name metrics, never users.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, type IMetric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';

/** Encrypted topic with alarms. */
export class AlarmTopic extends Construct {
  private readonly topic: Topic;

  constructor(scope: Construct, id: string, email: string | undefined) {
    super(scope, id);
    const masterKey = new Key(this, 'Key', {
      description: 'Encrypts the alarms of Twinway',
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    masterKey.grantEncryptDecrypt(new ServicePrincipal('cloudwatch.amazonaws.com'));
    this.topic = new Topic(this, 'Topic', { masterKey, enforceSSL: true });
    this.topic.grantPublish(new ServicePrincipal('cloudwatch.amazonaws.com'));
    if (email !== undefined) {
      this.topic.addSubscription(new EmailSubscription(email));
    }
  }

  /** ARN of the topic. */
  get arn(): string {
    return this.topic.topicArn;
  }

  /** Adds an alarm that fires when `metric` reaches `threshold` in `periods` consecutive periods. */
  addAlarm(id: string, description: string, metric: IMetric, threshold: number, periods = 1): Alarm {
    const alarm = new Alarm(this, id, {
      alarmDescription: description,
      metric,
      threshold,
      evaluationPeriods: periods,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    alarm.addAlarmAction(new SnsAction(this.topic));
    alarm.addOkAction(new SnsAction(this.topic));
    return alarm;
  }
}
