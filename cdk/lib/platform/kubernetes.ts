/**
 * Kubernetes cluster with the components that the chart (`k8s/`) requires: autoscaled nodes, metrics for the
 * pod autoscaler, the load balancer controller that registers pods with the target group, and External Secrets.
 *
 * The chart of `k8s/` deploys the application. The API endpoint is private unless `apiAccessFrom` lists networks.
 */
import { KubectlV35Layer } from '@aws-cdk/lambda-layer-kubectl-v35';
import { Stack } from 'aws-cdk-lib';
import { SubnetType, type Vpc } from 'aws-cdk-lib/aws-ec2';
import {
  Addon,
  AlbControllerVersion,
  Cluster,
  ClusterLoggingTypes,
  DefaultCapacityType,
  EndpointAccess,
  IdentityType,
  KubernetesVersion,
} from 'aws-cdk-lib/aws-eks-v2';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { PlatformSettings } from '../environments';
import { suppressRuleWithin } from '../nag';
import { POD_IDENTITY } from '../names';
import { Nodes } from './nodes';

/** Chart and image of the cluster autoscaler; the image's minor version equals the cluster's. */
const AUTOSCALER = {
  repository: 'https://kubernetes.github.io/autoscaler',
  chart: 'cluster-autoscaler',
  version: '9.46.6',
  image: 'v1.35.0',
};

/** Copies secrets of Secrets Manager to the namespaces of the pods. */
const EXTERNAL_SECRETS = {
  repository: 'https://charts.external-secrets.io',
  chart: 'external-secrets',
  version: '1.3.2',
};

/** Properties of the cluster. */
export interface KubernetesProps {
  readonly settings: PlatformSettings;
  readonly vpc: Vpc;
  readonly adminArn: string | undefined;
}

/** The cluster. */
export class Kubernetes extends Construct {
  readonly cluster: Cluster;

  constructor(scope: Construct, id: string, { settings, vpc, adminArn }: KubernetesProps) {
    super(scope, id);
    this.cluster = new Cluster(this, 'Cluster', {
      version: KubernetesVersion.V1_35,
      vpc,
      vpcSubnets: [{ subnetType: SubnetType.PRIVATE_WITH_EGRESS }],
      defaultCapacityType: DefaultCapacityType.NODEGROUP,
      defaultCapacity: 0,
      endpointAccess:
        settings.apiAccessFrom.length === 0
          ? EndpointAccess.PRIVATE
          : EndpointAccess.PUBLIC_AND_PRIVATE.onlyFrom(...settings.apiAccessFrom),
      clusterLogging: Object.values(ClusterLoggingTypes),
      kubectlProviderOptions: { kubectlLayer: new KubectlV35Layer(this, 'Kubectl') },
      albController: { version: AlbControllerVersion.V3_2_2 },
    });
    const nodes = new Nodes(this, 'Nodes', this.cluster, settings);
    this.cluster.albController?.node.addDependency(nodes);
    new Addon(this, 'PodMetrics', { cluster: this.cluster, addonName: 'metrics-server' });
    this.addAutoscaler().node.addDependency(nodes);
    this.addExternalSecrets().node.addDependency(nodes);
    if (adminArn !== undefined) {
      this.cluster.grantClusterAdmin('Administrators', adminArn);
    }
    this.suppressRules();
  }

  /** Cluster autoscaler; it may change the size of this cluster's node groups only. */
  private addAutoscaler(): Construct {
    const { cluster } = this;
    const account = cluster.addServiceAccount('Autoscaler', {
      name: 'cluster-autoscaler',
      namespace: 'kube-system',
      identityType: IdentityType.POD_IDENTITY,
    });
    account.addToPrincipalPolicy(
      new PolicyStatement({
        actions: ['autoscaling:SetDesiredCapacity', 'autoscaling:TerminateInstanceInAutoScalingGroup'],
        resources: ['*'],
        conditions: { StringEquals: { 'aws:ResourceTag/eks:cluster-name': cluster.clusterName } },
      }),
    );
    account.addToPrincipalPolicy(
      new PolicyStatement({
        actions: [
          'autoscaling:DescribeAutoScalingGroups',
          'autoscaling:DescribeAutoScalingInstances',
          'autoscaling:DescribeLaunchConfigurations',
          'autoscaling:DescribeScalingActivities',
          'autoscaling:DescribeTags',
          'ec2:DescribeImages',
          'ec2:DescribeInstanceTypes',
          'ec2:DescribeLaunchTemplateVersions',
          'ec2:GetInstanceTypesFromInstanceRequirements',
          'eks:DescribeNodegroup',
        ],
        resources: ['*'],
      }),
    );
    const chart = cluster.addHelmChart('AutoscalerChart', {
      repository: AUTOSCALER.repository,
      chart: AUTOSCALER.chart,
      version: AUTOSCALER.version,
      release: 'cluster-autoscaler',
      namespace: 'kube-system',
      values: {
        autoDiscovery: { clusterName: cluster.clusterName },
        awsRegion: Stack.of(this).region,
        image: { tag: AUTOSCALER.image },
        rbac: { serviceAccount: { create: false, name: account.serviceAccountName } },
      },
    });
    chart.node.addDependency(account);
    return chart;
  }

  /** External Secrets; `PodIdentity` gives it the permission to read the application's secrets. */
  private addExternalSecrets(): Construct {
    return this.cluster.addHelmChart('ExternalSecretsChart', {
      ...EXTERNAL_SECRETS,
      release: 'external-secrets',
      namespace: POD_IDENTITY.namespace,
      values: { installCRDs: true, serviceAccount: { name: POD_IDENTITY.serviceAccount } },
    });
  }

  private suppressRules(): void {
    const library = 'Created by the CDK library for this cluster with the permissions that EKS documents.';
    if (this.cluster.albController !== undefined) {
      suppressRuleWithin(
        this.cluster.albController,
        'IAM5',
        'The load balancer controller project publishes these permissions.',
      );
    }
    suppressRuleWithin(this.cluster, 'IAM4', library);
    suppressRuleWithin(
      this.cluster,
      'IAM5',
      'Describe actions have no resource-level permissions; changes are limited by tags of this cluster.',
    );
    suppressRuleWithin(
      this.cluster,
      'L1',
      'The CDK library selects the runtime of its function and updates it with releases.',
    );
  }
}
