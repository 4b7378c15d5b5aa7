/**
 * The role with which API Gateway writes the logs of WebSocket APIs.
 *
 * It is a setting of the account in a region, not of one API ("Set up logging", API Gateway guide). It remains when the
 * stack is deleted, because other APIs may use it; for an account that already has one use `-c gatewayAccount=leave`.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { CfnAccount } from 'aws-cdk-lib/aws-apigateway';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { suppressRule } from '../nag';

const POLICY = 'service-role/AmazonAPIGatewayPushToCloudWatchLogs';

/** The account's CloudWatch role. */
export class GatewayAccount extends Construct {
  constructor(scope: Construct, id: string) {
    super(scope, id);
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com'),
      managedPolicies: [ManagedPolicy.fromAwsManagedPolicyName(POLICY)],
    });
    suppressRule(role, 'IAM4', 'API Gateway accepts only a role with the permissions of this AWS policy.', [
      `Policy::arn:<AWS::Partition>:iam::aws:policy/${POLICY}`,
    ]);
    const account = new CfnAccount(this, 'Account', { cloudWatchRoleArn: role.roleArn });
    role.applyRemovalPolicy(RemovalPolicy.RETAIN);
    account.applyRemovalPolicy(RemovalPolicy.RETAIN);
  }
}
