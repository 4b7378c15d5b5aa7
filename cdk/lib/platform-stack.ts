/**
 * Platform for the pods of Twinway on AWS: network, Kubernetes, Valkey, PostgreSQL, registry, load balancer, backups.
 *
 * The chart of `k8s/` deploys the application itself. This stack requires a DNS zone (for certificates) and depends
 * only on the stack with the vault for copies of its backups.
 */
import { CfnOutput, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { type ISecret, Secret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import { hostNames } from './app/host';
import type { OperatorContext, Zone } from './context';
import type { Environment } from './environments';
import { suppressRule } from './nag';
import { Backups } from './platform/backups';
import { Cache } from './platform/cache';
import { Database } from './platform/database';
import { Entry } from './platform/entry';
import { Images } from './platform/images';
import { Kubernetes } from './platform/kubernetes';
import { Network } from './platform/network';
import { PodIdentity } from './platform/pod-identity';

/** Properties of the platform's stack. */
export interface PlatformStackProps extends StackProps {
  readonly environment: Environment;
  readonly operator: OperatorContext;
  readonly zone: Zone;
}

/** The platform's stack. */
export class PlatformStack extends Stack {
  readonly entry: Entry;

  constructor(scope: Construct, id: string, props: PlatformStackProps) {
    super(scope, id, props);
    const { environment, operator, zone } = props;
    const network = new Network(this, 'Network', environment.platform);
    const { vpc } = network;
    const { cluster } = new Kubernetes(this, 'Kubernetes', {
      settings: environment.platform,
      vpc,
      adminArn: operator.clusterAdminArn,
    });
    const pods = cluster.clusterSecurityGroup;
    const cache = new Cache(this, 'Cache', { environment, vpc, clients: pods, shards: operator.cacheShards });
    const database = new Database(this, 'Database', environment, vpc, pods);
    const signing = this.signingSecret(environment, operator.callers.signingSecretArn);
    const secrets = [cache.password, signing, ...(database.instance.secret ? [database.instance.secret] : [])];
    new PodIdentity(this, 'PodIdentity', cluster, secrets);
    const images = new Images(this, 'Images', environment);
    const hosts = hostNames(environment, zone);
    const { addressRate } = environment;
    this.entry = new Entry(this, 'Entry', { vpc, hosts, zone, pods, data: environment.data, addressRate });
    new Backups(this, 'Backups', environment);

    this.output('ClusterName', cluster.clusterName, 'aws eks update-kubeconfig --name …');
    this.output('TargetGroup', this.entry.targets.targetGroupArn, 'Target group for a TargetGroupBinding of the pods');
    this.output('EntryCidrs', network.entryCidrs.join(','), 'Addresses of the load balancer, for network policies');
    this.output('DataCidrs', network.dataCidrs.join(','), 'Addresses of Valkey and PostgreSQL, for network policies');
    this.output('EntryName', this.entry.balancer.loadBalancerDnsName, 'DNS name of the load balancer of the pods');
    this.output('CacheEndpoint', cache.endpoint, 'Valkey: rediss://:{password}@{this}:6379');
    this.output('CacheTopology', cache.topology, 'redis.topology of the pods');
    this.output('CachePassword', cache.password.secretArn, 'Secret with the password of Valkey');
    this.output('DatabaseEndpoint', database.instance.dbInstanceEndpointAddress, 'PostgreSQL, TLS only');
    this.output(
      'DatabaseSecret',
      database.instance.secret?.secretArn ?? '',
      'Secret with user and password of PostgreSQL',
    );
    this.output('SigningSecret', signing.secretArn, 'Secret that signs tokens (HS256)');
    this.output('Registry', images.registry, 'REGISTRY of `make images`: prefix of the names of the images');
    this.output('Region', this.region, 'Region of the secrets');
  }

  private signingSecret(environment: Environment, arn: string | undefined): ISecret {
    if (arn !== undefined) {
      return Secret.fromSecretCompleteArn(this, 'Signing', arn);
    }
    const secret = new Secret(this, 'Signing', {
      description: `Signs the tokens of the pods of Twinway (${environment.name})`,
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    suppressRule(secret, 'SMG4', 'A rotation invalidates tokens of the old secret, so it is done by hand.');
    return secret;
  }

  private output(key: string, value: string, description: string): void {
    new CfnOutput(this, key, { key, value, description });
  }
}
