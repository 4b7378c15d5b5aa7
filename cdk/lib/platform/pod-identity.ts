/**
 * AWS permissions for the application's secrets: External Secrets reads them and writes Secrets, which the pods mount as files.
 *
 * EKS Pod Identity assigns the role to the service account of External Secrets. The pods of the application have no AWS permissions.
 */

import { CfnPodIdentityAssociation } from 'aws-cdk-lib/aws-eks';
import type { Cluster } from 'aws-cdk-lib/aws-eks-v2';
import { Role, ServicePrincipal, SessionTagsPrincipal } from 'aws-cdk-lib/aws-iam';
import type { ISecret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { POD_IDENTITY } from '../names';

/** Role of External Secrets. */
export class PodIdentity extends Construct {
  constructor(scope: Construct, id: string, cluster: Cluster, secrets: readonly ISecret[]) {
    super(scope, id);
    const role = new Role(this, 'Role', {
      description: 'Secrets of the pods of Twinway',
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
