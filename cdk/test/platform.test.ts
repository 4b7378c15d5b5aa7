/** Tests of the platform's stack: redundancy, encryption, network access and permissions. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { copyVaultName } from '../lib/backup-copy-stack';
import { ENVIRONMENTS } from '../lib/environments';
import { BACKUP_TAG, POD_IDENTITY } from '../lib/names';
import { Cache } from '../lib/platform/cache';
import { Network } from '../lib/platform/network';
import { json, resources, template } from './synthesized';

const platform = template('prod', 'Platform');

test('the network spans three zones, each with its own NAT gateway', () => {
  const zones = resources(json('prod', 'Platform'), 'AWS::EC2::Subnet').map(
    (subnet) => subnet.Properties?.AvailabilityZone,
  );
  assert.deepEqual(new Set(zones), new Set(ENVIRONMENTS.prod.platform.zones));
  assert.equal(zones.length, 9);
  platform.resourceCountIs('AWS::EC2::NatGateway', 3);
  platform.resourcePropertiesCountIs('AWS::EC2::VPCEndpoint', { VpcEndpointType: 'Gateway' }, 2);
  platform.resourcePropertiesCountIs('AWS::EC2::VPCEndpoint', { VpcEndpointType: 'Interface' }, 6);
});

test('the Kubernetes API is private and audited', () => {
  platform.hasResourceProperties('AWS::EKS::Cluster', {
    ResourcesVpcConfig: Match.objectLike({ EndpointPrivateAccess: true, EndpointPublicAccess: false }),
    Logging: { ClusterLogging: { EnabledTypes: Match.arrayWith([{ Type: 'audit' }]) } },
  });
});

test('nodes scale within limits, and pods cannot read their credentials', () => {
  platform.hasResourceProperties('AWS::EKS::Nodegroup', {
    AmiType: 'AL2023_ARM_64_STANDARD',
    ScalingConfig: Match.objectLike({ MinSize: 3, MaxSize: 30 }),
  });
  platform.hasResourceProperties('AWS::EC2::LaunchTemplate', {
    LaunchTemplateData: Match.objectLike({ MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 } }),
  });
  const charts = resources(json('prod', 'Platform'), 'Custom::AWSCDK-EKS-HelmChart').map(
    (chart) => chart.Properties?.Chart,
  );
  assert.deepEqual(
    new Set(charts),
    new Set(['cluster-autoscaler', 'aws-load-balancer-controller', 'external-secrets']),
  );
});

test('the autoscaler resizes groups of this cluster only', () => {
  platform.hasResourceProperties('AWS::IAM::Policy', {
    PolicyDocument: {
      Statement: Match.arrayWith([
        Match.objectLike({
          Action: ['autoscaling:SetDesiredCapacity', 'autoscaling:TerminateInstanceInAutoScalingGroup'],
          Condition: { StringEquals: { 'aws:ResourceTag/eks:cluster-name': Match.anyValue() } },
        }),
      ]),
    },
  });
});

test('Valkey fails over, never evicts, and requires TLS and a password', () => {
  platform.hasResourceProperties('AWS::ElastiCache::ReplicationGroup', {
    Engine: 'valkey',
    AutomaticFailoverEnabled: true,
    MultiAZEnabled: true,
    ReplicasPerNodeGroup: 2,
    TransitEncryptionEnabled: true,
    TransitEncryptionMode: 'required',
    AtRestEncryptionEnabled: true,
    AuthToken: Match.anyValue(),
    SnapshotRetentionLimit: 7,
  });
  platform.hasResourceProperties('AWS::ElastiCache::ParameterGroup', {
    Properties: { 'maxmemory-policy': 'noeviction' },
  });
});

test('several shards make Valkey a Cluster', () => {
  for (const shards of [1, 3]) {
    const stack = new Stack();
    const { vpc } = new Network(stack, 'Network', ENVIRONMENTS.dev.platform);
    const clients = new SecurityGroup(stack, 'Pods', { vpc });
    const cache = new Cache(stack, 'Cache', { environment: ENVIRONMENTS.dev, vpc, clients, shards });
    assert.equal(cache.topology, shards === 1 ? 'single' : 'cluster');
    const endpoint = JSON.stringify(stack.resolve(cache.endpoint));
    assert.match(endpoint, shards === 1 ? /PrimaryEndPoint.Address/ : /ConfigurationEndPoint.Address/);
    const made = Template.fromStack(stack);
    made.hasResourceProperties('AWS::ElastiCache::ReplicationGroup', { NumNodeGroups: shards, MultiAZEnabled: true });
    made.hasResourceProperties('AWS::ElastiCache::ParameterGroup', {
      Properties: { 'cluster-enabled': shards === 1 ? Match.absent() : 'yes' },
    });
  }
});

test('the outputs are those that k8s/scripts/eks_values.py reads', () => {
  const fixture = resolve(__dirname, '../../../k8s/tests/fixtures/eks-outputs.json');
  const documents = JSON.parse(readFileSync(fixture, 'utf8')) as Record<string, Record<string, string>>;
  const outputs = Object.keys(json('prod', 'Platform').Outputs ?? {}).filter((name) => !name.startsWith('Publish'));
  assert.deepEqual(outputs.sort(), Object.keys(documents['Twinway-prod-Platform'] ?? {}).sort());
});

test('PostgreSQL has two zones, point-in-time recovery and a replica', () => {
  platform.hasResourceProperties('AWS::RDS::DBInstance', {
    Engine: 'postgres',
    MultiAZ: true,
    BackupRetentionPeriod: 14,
    StorageEncrypted: true,
    DeletionProtection: true,
    PubliclyAccessible: false,
  });
  platform.hasResourceProperties('AWS::RDS::DBInstance', { SourceDBInstanceIdentifier: Match.anyValue() });
  platform.hasResourceProperties('AWS::RDS::DBParameterGroup', { Parameters: { 'rds.force_ssl': '1' } });
});

test('data stores accept connections from the pods only', () => {
  const ingress = resources(json('prod', 'Platform'), 'AWS::EC2::SecurityGroupIngress');
  const ports = [5432, 6379];
  const dataRules = ingress.filter((rule) => ports.includes(Number(rule.Properties?.FromPort)));
  assert.equal(dataRules.length, 3, 'Valkey, the primary and the replica');
  for (const rule of dataRules) {
    assert.match(JSON.stringify(rule.Properties?.SourceSecurityGroupId), /ClusterSecurityGroupId/);
  }
});

test('External Secrets may read three secrets only', () => {
  platform.hasResourceProperties('AWS::EKS::PodIdentityAssociation', {
    Namespace: POD_IDENTITY.namespace,
    ServiceAccount: POD_IDENTITY.serviceAccount,
  });
  const policies = Object.entries(json('prod', 'Platform').Resources).filter(([id]) =>
    id.startsWith('PodIdentityRoleDefaultPolicy'),
  );
  assert.equal(policies.length, 1);
  const document = policies[0]?.[1].Properties?.PolicyDocument as {
    Statement: { Action: string[]; Resource: unknown }[];
  };
  const actions = new Set(document.Statement.flatMap(({ Action: action }) => action));
  assert.deepEqual(actions, new Set(['secretsmanager:GetSecretValue', 'secretsmanager:DescribeSecret']));
  assert.equal(document.Statement.flatMap(({ Resource: resource }) => resource).length, 3);
});

test('the images are those of `make images`, and their tags are immutable', () => {
  const names = resources(json('prod', 'Platform'), 'AWS::ECR::Repository').map(
    ({ Properties: own }) => own?.RepositoryName,
  );
  assert.deepEqual(
    new Set(names),
    new Set(['', '-frontend', '-migrate'].map((suffix) => `twinway-prod/twinway${suffix}`)),
  );
  platform.allResourcesProperties('AWS::ECR::Repository', {
    ImageTagMutability: 'IMMUTABLE',
    ImageScanningConfiguration: { ScanOnPush: true },
  });
});

test('the load balancer requires TLS and checks readiness on the operations port', () => {
  platform.resourceCountIs('AWS::ElasticLoadBalancingV2::Listener', 1);
  platform.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', {
    Port: 443,
    Protocol: 'HTTPS',
    SslPolicy: 'ELBSecurityPolicy-TLS13-1-2-Res-2021-06',
  });
  platform.hasResourceProperties('AWS::ElasticLoadBalancingV2::TargetGroup', {
    TargetType: 'ip',
    HealthCheckPath: '/ready',
    HealthCheckPort: '8081',
  });
  platform.hasResourceProperties('AWS::CertificateManager::Certificate', {
    DomainName: 'ws.example.com',
    SubjectAlternativeNames: ['api.example.com'],
    ValidationMethod: 'DNS',
  });
});

test('tagged data is backed up daily and copied to the vault of the other region', () => {
  const name = copyVaultName(ENVIRONMENTS.prod);
  platform.hasResourceProperties('AWS::Backup::BackupPlan', {
    BackupPlan: {
      BackupPlanRule: [
        Match.objectLike({
          Lifecycle: { DeleteAfterDays: 35 },
          CopyActions: [
            Match.objectLike({
              DestinationBackupVaultArn: Match.objectLike({
                'Fn::Join': ['', Match.arrayWith([Match.stringLikeRegexp(`:backup-vault:${name}$`)])],
              }),
            }),
          ],
        }),
      ],
    },
  });
  template('prod', 'BackupCopy').hasResourceProperties('AWS::Backup::BackupVault', { BackupVaultName: name });
  const tagged = [json('prod', 'App'), json('prod', 'Platform')]
    .flatMap((stack) => Object.values(stack.Resources))
    .filter((resource) => JSON.stringify(resource.Properties ?? {}).includes(`{"Key":"${BACKUP_TAG}","Value":"prod"}`))
    .map((resource) => resource.Type);
  assert.deepEqual(tagged.sort(), ['AWS::DynamoDB::GlobalTable', 'AWS::DynamoDB::GlobalTable', 'AWS::RDS::DBInstance']);
});

test('the load balancer limits the requests of each address', () => {
  platform.hasResourceProperties('AWS::WAFv2::WebACL', {
    Scope: 'REGIONAL',
    Rules: [
      Match.objectLike({
        Action: { Block: {} },
        Statement: {
          RateBasedStatement: {
            AggregateKeyType: 'IP',
            EvaluationWindowSec: 300,
            Limit: ENVIRONMENTS.prod.addressRate,
          },
        },
      }),
    ],
  });
  platform.hasResourceProperties('AWS::WAFv2::WebACLAssociation', {
    ResourceArn: { Ref: Match.stringLikeRegexp('Balancer') },
  });
});
