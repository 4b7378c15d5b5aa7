/**
 * AWS permissions of the application's pods: reading their secrets only.
 *
 * EKS Pod Identity assigns the role to one service account of one namespace; the chart (`k8s/`) creates both.
 */

import { CfnPodIdentityAssociation } from 'aws-cdk-lib/aws-eks';
import type { Cluster } from 'aws-cdk-lib/aws-eks-v2';
import { Role, ServicePrincipal, SessionTagsPrincipal } from 'aws-cdk-lib/aws-iam';
import type { ISecret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { POD_IDENTITY } from '../names';

/** Role of the pods. */
export class PodIdentity extends Construct {
  constructor(scope: Construct, id: string, cluster: Cluster, secrets: readonly ISecret[]) {
    super(scope, id);
    const role = new Role(this, 'Role', {
      description: 'Pods of Twinway',
      assumedBy: new SessionTagsPrincipal(new ServicePrincipal('pods.eks.amazonaws.com')),
    });
    for (const secret of secrets) {
      secret.grantRead(role);
    }
    new CfnPodIdentityAssociation(this, 'Association', {
      clusterName: cluster.clusterName,
      namespace: POD_IDENTITY.namespace,
      serviceAccount: POD_IDENTITY.serviceAccount,
      roleArn: role.roleArn,
    });
  }
}
