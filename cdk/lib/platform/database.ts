/**
 * PostgreSQL for the durable message log of pods: two zones with automatic failover, point-in-time recovery, read
 * replicas, TLS only.
 *
 * The generated password is in Secrets Manager and read by pods at start.
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
import { setAside, setAsideWithin } from '../nag';
import { BACKUP_TAG } from '../names';

/** What `DATABASE_URL` names. */
const DATABASE_NAME = 'twinway';
const PORT = 5432;

/** The database. */
export class Database extends Construct {
  readonly instance: DatabaseInstance;

  constructor(scope: Construct, id: string, environment: Environment, vpc: Vpc, clients: IConnectable) {
    super(scope, id);
    const { database } = environment.platform;
    const keep = environment.data === 'retained';
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
      deletionProtection: keep,
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
      removalPolicy: keep ? RemovalPolicy.RETAIN : RemovalPolicy.SNAPSHOT,
    });
    Tags.of(this.instance).add(BACKUP_TAG, environment.name, {
      includeResourceTypes: [CfnDBInstance.CFN_RESOURCE_TYPE_NAME],
    });
    this.instance.connections.allowFrom(clients, Port.tcp(PORT), 'Pods');
    for (let number = 1; number <= database.readReplicas; number += 1) {
      const replica = new DatabaseInstanceReadReplica(this, `Replica${number}`, {
        ...shared,
        port: PORT,
        // Its storage is encrypted because the primary's is.
        sourceDatabaseInstance: this.instance,
        removalPolicy: RemovalPolicy.DESTROY,
      });
      setAside(replica, 'RDS2', 'A replica in the same region is encrypted with its source; saying so is an error.');
      setAside(replica, 'RDS3', 'A replica is a further copy; the primary has its stand-by in another zone.');
      replica.connections.allowFrom(clients, Port.tcp(PORT), 'Pods');
    }
    this.setRulesAside(keep);
  }

  private setRulesAside(keep: boolean): void {
    setAsideWithin(this, 'RDS11', 'The port is no secret; only pods reach it, with TLS and a password.');
    setAsideWithin(this, 'IAM4', 'Enhanced monitoring of RDS takes exactly this AWS policy.', [
      'Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole',
    ]);
    if (!keep) {
      setAsideWithin(
        this,
        'RDS10',
        'A disposable environment must be deletable; a last snapshot is taken all the same.',
      );
    }
    const atStart = 'Pods read the password at start: it is rotated with a rollout (docs/AWS.md).';
    setAsideWithin(this.instance, 'SMG4', atStart);
  }
}
