/**
 * Valkey for connections and for the bus between pods: a primary with replicas in other zones, automatic failover, TLS,
 * a password, daily snapshots.
 *
 * Nothing is ever evicted: an evicted connection record or lease would be a `$disconnect` that never runs. A full cache
 * refuses writes instead, which clients see as `degraded`, and which its alarm announces beforehand.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { type IConnectable, Port, SecurityGroup, SubnetType, type Vpc } from 'aws-cdk-lib/aws-ec2';
import { CfnParameterGroup, CfnReplicationGroup, CfnSubnetGroup } from 'aws-cdk-lib/aws-elasticache';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { setAside } from '../nag';

const PORT = 6379;
const ENGINE = { name: 'valkey', version: '8.0', family: 'valkey8' };
/** The share of memory, in per cent, at which there is still time to act. */
const MEMORY_ALARM = 75;

/** The cache. */
export class Cache extends Construct {
  /** The password of all clients ("Authenticating with AUTH", ElastiCache guide). */
  readonly password: Secret;
  /** `rediss://` goes to this name; failover moves it. */
  readonly primaryEndpoint: string;

  constructor(scope: Construct, id: string, environment: Environment, vpc: Vpc, clients: IConnectable) {
    super(scope, id);
    const { cache } = environment.platform;
    this.password = new Secret(this, 'Password', {
      description: `Valkey password of Twinway (${environment.name})`,
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
    });
    setAside(this.password, 'SMG4', 'Pods read the password at start: it is rotated with a rollout (docs/AWS.md).');
    const securityGroup = new SecurityGroup(this, 'SecurityGroup', {
      vpc,
      description: 'Valkey of Twinway',
      allowAllOutbound: false,
    });
    securityGroup.connections.allowFrom(clients, Port.tcp(PORT), 'Pods');
    const group = new CfnReplicationGroup(this, 'Group', {
      replicationGroupDescription: `Connections and bus of Twinway (${environment.name})`,
      engine: ENGINE.name,
      engineVersion: ENGINE.version,
      cacheNodeType: cache.type,
      numNodeGroups: 1,
      replicasPerNodeGroup: cache.replicas,
      automaticFailoverEnabled: true,
      multiAzEnabled: true,
      transitEncryptionEnabled: true,
      transitEncryptionMode: 'required',
      atRestEncryptionEnabled: true,
      authToken: this.password.secretValue.unsafeUnwrap(),
      port: PORT,
      snapshotRetentionLimit: cache.snapshotDays,
      snapshotWindow: '02:00-03:00',
      preferredMaintenanceWindow: 'sun:03:30-sun:04:30',
      cacheParameterGroupName: this.parameters().ref,
      cacheSubnetGroupName: this.subnets(vpc).ref,
      securityGroupIds: [securityGroup.securityGroupId],
    });
    group.applyRemovalPolicy(environment.data === 'retained' ? RemovalPolicy.SNAPSHOT : RemovalPolicy.DESTROY);
    setAside(group, 'AEC5', 'The port is no secret; only pods reach it, with TLS and a password.');
    this.primaryEndpoint = group.attrPrimaryEndPointAddress;
    this.watch(group);
  }

  private parameters(): CfnParameterGroup {
    return new CfnParameterGroup(this, 'Parameters', {
      cacheParameterGroupFamily: ENGINE.family,
      description: 'Never evict',
      properties: { 'maxmemory-policy': 'noeviction' },
    });
  }

  private subnets(vpc: Vpc): CfnSubnetGroup {
    const { subnetIds } = vpc.selectSubnets({ subnetType: SubnetType.PRIVATE_ISOLATED });
    return new CfnSubnetGroup(this, 'Subnets', { description: 'Isolated subnets', subnetIds });
  }

  private watch(group: CfnReplicationGroup): void {
    new Alarm(this, 'Memory', {
      alarmDescription: 'Valkey is filling up; at 100 % it refuses writes',
      metric: new Metric({
        namespace: 'AWS/ElastiCache',
        metricName: 'DatabaseMemoryUsageCountedForEvictPercentage',
        dimensionsMap: { ReplicationGroupId: group.ref },
        statistic: 'Maximum',
      }),
      threshold: MEMORY_ALARM,
      evaluationPeriods: 2,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    });
  }
}
