/**
 * Web ACL for CloudFront, which AWS WAF requires in `us-east-1`.
 */
import { Stack, type StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { AddressRateAcl } from './address-rate-acl';
import type { Environment } from './environments';

/** The only region of web ACLs for CloudFront (AWS WAF developer guide, "Resources that you can protect"). */
export const EDGE_REGION = 'us-east-1';

/** The stack in `us-east-1`. */
export class EdgeStack extends Stack {
  readonly webAclArn: string;

  constructor(scope: Construct, id: string, environment: Environment, props: StackProps) {
    super(scope, id, props);
    this.webAclArn = new AddressRateAcl(this, 'Web', {
      scope: 'CLOUDFRONT',
      requestsPerFiveMinutes: environment.addressRate,
    }).arn;
  }
}
