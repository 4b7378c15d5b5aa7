/**
 * Worker nodes: one managed group over three availability zones, arm64, with encrypted disks.
 *
 * Pods cannot access the instance's credentials: the metadata service requires a token with a hop limit of one
 * ("Restrict access to the instance profile", EKS best practices). Pod Identity alone grants permissions to pods.
 */
import { CfnLaunchTemplate, InstanceType, SubnetType } from 'aws-cdk-lib/aws-ec2';
import { type Cluster, NodegroupAmiType } from 'aws-cdk-lib/aws-eks-v2';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { PlatformSettings } from '../environments';
import { suppressRule } from '../nag';

const NODE_POLICIES = ['AmazonEKSWorkerNodePolicy', 'AmazonEKS_CNI_Policy', 'AmazonEC2ContainerRegistryPullOnly'];
const DISK_GIB = 50;

/** The managed node group. */
export class Nodes extends Construct {
  constructor(scope: Construct, id: string, cluster: Cluster, settings: PlatformSettings) {
    super(scope, id);
    const template = this.template();
    cluster.addNodegroupCapacity('Nodes', {
      amiType: NodegroupAmiType.AL2023_ARM_64_STANDARD,
      instanceTypes: [new InstanceType(settings.nodes.type)],
      minSize: settings.nodes.min,
      maxSize: settings.nodes.max,
      subnets: { subnetType: SubnetType.PRIVATE_WITH_EGRESS },
      launchTemplateSpec: { id: template.ref, version: template.attrLatestVersionNumber },
      nodeRole: this.role(),
      maxUnavailable: 1,
      enableNodeAutoRepair: true,
    });
  }

  private template(): CfnLaunchTemplate {
    return new CfnLaunchTemplate(this, 'Template', {
      launchTemplateData: {
        metadataOptions: { httpTokens: 'required', httpPutResponseHopLimit: 1 },
        blockDeviceMappings: [
          {
            deviceName: '/dev/xvda',
            ebs: { encrypted: true, volumeType: 'gp3', volumeSize: DISK_GIB, deleteOnTermination: true },
          },
        ],
      },
    });
  }

  private role(): Role {
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
      managedPolicies: NODE_POLICIES.map((name) => ManagedPolicy.fromAwsManagedPolicyName(name)),
    });
    suppressRule(
      role,
      'IAM4',
      'EKS documents these AWS policies as the permissions of a node.',
      NODE_POLICIES.map((name) => `Policy::arn:<AWS::Partition>:iam::aws:policy/${name}`),
    );
    return role;
  }
}
