/**
 * AWS WAF web ACL that blocks addresses with too many requests.
 *
 * The rule counts HTTP requests and handshakes, not WebSocket messages. It also protects against floods before
 * authentication, which a limit per user cannot see.
 */
import { CfnWebACL } from 'aws-cdk-lib/aws-wafv2';
import { Construct } from 'constructs';

/** Period over which WAF counts requests, in seconds. */
const EVALUATION_SECONDS = 300;

/** Properties of the web ACL. */
export interface AddressRateAclProps {
  /** `REGIONAL` for a load balancer; `CLOUDFRONT` for a distribution, in `us-east-1` only. */
  readonly scope: 'REGIONAL' | 'CLOUDFRONT';
  /** Maximum number of requests of one address in five minutes; further requests are answered with 403. */
  readonly requestsPerFiveMinutes: number;
}

/** Web ACL with one rate rule per source address. */
export class AddressRateAcl extends Construct {
  readonly arn: string;

  constructor(scope: Construct, id: string, props: AddressRateAclProps) {
    super(scope, id);
    const metrics = (metricName: string) => ({
      cloudWatchMetricsEnabled: true,
      sampledRequestsEnabled: false,
      metricName,
    });
    const acl = new CfnWebACL(this, 'Acl', {
      scope: props.scope,
      defaultAction: { allow: {} },
      visibilityConfig: metrics('twinway-requests'),
      rules: [
        {
          name: 'address-rate',
          priority: 0,
          action: { block: {} },
          statement: {
            rateBasedStatement: {
              aggregateKeyType: 'IP',
              evaluationWindowSec: EVALUATION_SECONDS,
              limit: props.requestsPerFiveMinutes,
            },
          },
          visibilityConfig: metrics('twinway-address-rate'),
        },
      ],
    });
    this.arn = acl.attrArn;
  }
}
