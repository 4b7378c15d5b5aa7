/**
 * Valkey for connection records and messages between pods: a primary with replicas in other availability zones,
 * automatic failover, TLS, a password, daily snapshots. With several shards it is a Cluster.
 *
 * The policy is `noeviction`: for an evicted connection record or lease, `$disconnect` would never run. A full cache
 * rejects writes, which clients see as `degraded`; the memory alarm fires before that.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { type IConnectable, Port, SecurityGroup, SubnetType, type Vpc } from 'aws-cdk-lib/aws-ec2';
import { CfnParameterGroup, CfnReplicationGroup, CfnSubnetGroup } from 'aws-cdk-lib/aws-elasticache';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRule } from '../nag';

const PORT = 6379;
const ENGINE = { name: 'valkey', version: '8.0', family: 'valkey8' };
/** Memory usage in per cent at which the alarm fires, early enough to react. */
const MEMORY_ALARM_PERCENT = 75;

/** Properties of the cache. */
export interface CacheProps {
  readonly environment: Environment;
  readonly vpc: Vpc;
  readonly clients: IConnectable;
  /** Number of shards; with more than one, clients speak the Cluster protocol. */
  readonly shards: number;
}

/** Valkey replication group. */
export class Cache extends Construct {
  /** Password of all clients ("Authenticating with AUTH", ElastiCache guide). */
  readonly password: Secret;
  /** Host name for `rediss://`; a failover updates its address. Of a Cluster: the configuration endpoint. */
  readonly endpoint: string;
  /** Value of `redis.topology` of the pods. */
  readonly topology: 'single' | 'cluster';

  constructor(scope: Construct, id: string, props: CacheProps) {
    super(scope, id);
    const { environment, vpc, clients, shards } = props;
    const { cache } = environment.platform;
    this.topology = shards > 1 ? 'cluster' : 'single';
    this.password = new Secret(this, 'Password', {
      description: `Valkey password of Twinway (${environment.name})`,
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
    });
    suppressRule(
      this.password,
      'SMG4',
      'Pods read the password at start, so a rotation requires a rollout (docs/AWS.md).',
    );
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
      numNodeGroups: shards,
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
    suppressRule(group, 'AEC5', 'A non-default port adds no security; only pods can connect, with TLS and a password.');
    this.endpoint = shards > 1 ? group.attrConfigurationEndPointAddress : group.attrPrimaryEndPointAddress;
    this.watch(group);
  }

  private parameters(): CfnParameterGroup {
    return new CfnParameterGroup(this, 'Parameters', {
      cacheParameterGroupFamily: ENGINE.family,
      description: 'Never evict',
      properties: {
        'maxmemory-policy': 'noeviction',
        ...(this.topology === 'cluster' ? { 'cluster-enabled': 'yes' } : {}),
      },
    });
  }

  private subnets(vpc: Vpc): CfnSubnetGroup {
    const { subnetIds } = vpc.selectSubnets({ subnetType: SubnetType.PRIVATE_ISOLATED });
    return new CfnSubnetGroup(this, 'Subnets', { description: 'Isolated subnets', subnetIds });
  }

  private watch(group: CfnReplicationGroup): void {
    new Alarm(this, 'Memory', {
      alarmDescription: 'Valkey memory usage is high; at 100 % it rejects writes',
      metric: new Metric({
        namespace: 'AWS/ElastiCache',
        metricName: 'DatabaseMemoryUsageCountedForEvictPercentage',
        dimensionsMap: { ReplicationGroupId: group.ref },
        statistic: 'Maximum',
      }),
      threshold: MEMORY_ALARM_PERCENT,
      evaluationPeriods: 2,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    });
  }
}
