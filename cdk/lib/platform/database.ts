/**
 * PostgreSQL for the durable message log of pods: two availability zones with automatic failover, point-in-time
 * recovery, read replicas, TLS only.
 *
 * The generated password is in Secrets Manager; pods read it at start.
 */
import { Duration, RemovalPolicy, Tags } from 'aws-cdk-lib';
import { type IConnectable, InstanceType, Port, SubnetType, type Vpc } from 'aws-cdk-lib/aws-ec2';
import {
  CfnDBInstance,
  Credentials,
  DatabaseInstance,
  DatabaseInstanceEngine,
  DatabaseInstanceReadReplica,
  ParameterGroup,
  PerformanceInsightRetention,
  PostgresEngineVersion,
  StorageType,
} from 'aws-cdk-lib/aws-rds';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRule, suppressRuleWithin } from '../nag';
import { BACKUP_TAG } from '../names';

/** Name of the database in `DATABASE_URL`. */
const DATABASE_NAME = 'twinway';
const PORT = 5432;

/** PostgreSQL instance and read replicas. */
export class Database extends Construct {
  readonly instance: DatabaseInstance;

  constructor(scope: Construct, id: string, environment: Environment, vpc: Vpc, clients: IConnectable) {
    super(scope, id);
    const { database } = environment.platform;
    const retained = environment.data === 'retained';
    const engine = DatabaseInstanceEngine.postgres({ version: PostgresEngineVersion.VER_17_6 });
    const shared = {
      vpc,
      vpcSubnets: { subnetType: SubnetType.PRIVATE_ISOLATED },
      instanceType: new InstanceType(database.type),
      parameterGroup: new ParameterGroup(this, 'Parameters', { engine, parameters: { 'rds.force_ssl': '1' } }),
      storageType: StorageType.GP3,
      maxAllocatedStorage: database.maxStorageGiB,
      performanceInsightRetention: PerformanceInsightRetention.DEFAULT,
      monitoringInterval: Duration.minutes(1),
      cloudwatchLogsExports: ['postgresql', 'upgrade'],
      iamAuthentication: true,
      autoMinorVersionUpgrade: true,
      deletionProtection: retained,
    };
    this.instance = new DatabaseInstance(this, 'Primary', {
      ...shared,
      engine,
      storageEncrypted: true,
      port: PORT,
      databaseName: DATABASE_NAME,
      credentials: Credentials.fromGeneratedSecret('twinway'),
      multiAz: true,
      allocatedStorage: database.storageGiB,
      backupRetention: Duration.days(database.recoveryDays),
      preferredBackupWindow: '01:00-02:00',
      preferredMaintenanceWindow: 'sun:03:00-sun:03:30',
      copyTagsToSnapshot: true,
      removalPolicy: retained ? RemovalPolicy.RETAIN : RemovalPolicy.SNAPSHOT,
    });
    Tags.of(this.instance).add(BACKUP_TAG, environment.name, {
      includeResourceTypes: [CfnDBInstance.CFN_RESOURCE_TYPE_NAME],
    });
    this.instance.connections.allowFrom(clients, Port.tcp(PORT), 'Pods');
    for (let number = 1; number <= database.readReplicas; number += 1) {
      const replica = new DatabaseInstanceReadReplica(this, `Replica${number}`, {
        ...shared,
        port: PORT,
        // The storage is encrypted like the primary's.
        sourceDatabaseInstance: this.instance,
        removalPolicy: RemovalPolicy.DESTROY,
      });
      suppressRule(
        replica,
        'RDS2',
        'A replica in the same region is encrypted like its source and must not set the property.',
      );
      suppressRule(
        replica,
        'RDS3',
        'The primary has a stand-by in another availability zone; replicas only serve reads.',
      );
      replica.connections.allowFrom(clients, Port.tcp(PORT), 'Pods');
    }
    this.suppressRules(retained);
  }

  private suppressRules(retained: boolean): void {
    suppressRuleWithin(
      this,
      'RDS11',
      'A non-default port adds no security; only pods can connect, with TLS and a password.',
    );
    suppressRuleWithin(this, 'IAM4', 'Enhanced monitoring of RDS requires this AWS policy.', [
      'Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole',
    ]);
    if (!retained) {
      suppressRuleWithin(this, 'RDS10', 'A disposable environment must be deletable; a final snapshot is taken.');
    }
    const reason = 'Pods read the password at start, so a rotation requires a rollout (docs/AWS.md).';
    suppressRuleWithin(this.instance, 'SMG4', reason);
  }
}
