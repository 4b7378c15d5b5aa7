/**
 * The role that API Gateway writes the logs of WebSocket APIs with.
 *
 * It is a setting of the whole account in a region, not of one API ("Set up logging", API Gateway guide). Deleting the
 * stack leaves it, because other APIs may write with it; an account that has one uses `-c gatewayAccount=leave`.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { CfnAccount } from 'aws-cdk-lib/aws-apigateway';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { setAside } from '../nag';

const POLICY = 'service-role/AmazonAPIGatewayPushToCloudWatchLogs';

/** The account's setting. */
export class GatewayAccount extends Construct {
  constructor(scope: Construct, id: string) {
    super(scope, id);
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com'),
      managedPolicies: [ManagedPolicy.fromAwsManagedPolicyName(POLICY)],
    });
    setAside(role, 'IAM4', 'API Gateway accepts this setting only with the rights of exactly this AWS policy.', [
      `Policy::arn:<AWS::Partition>:iam::aws:policy/${POLICY}`,
    ]);
    const account = new CfnAccount(this, 'Account', { cloudWatchRoleArn: role.roleArn });
    role.applyRemovalPolicy(RemovalPolicy.RETAIN);
    account.applyRemovalPolicy(RemovalPolicy.RETAIN);
  }
}
