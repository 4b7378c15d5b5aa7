/**
 * Load balancer for WebSockets and the HTTP API of the pods, with certificates that are renewed automatically.
 *
 * It is created here and not by an ingress controller, so that its name exists before the first pod and the traffic
 * stack can reference it. Pods register through a `TargetGroupBinding`, which the operator adds. It writes no access logs:
 * a browser's token may be in the URL.
 */
import { Duration } from 'aws-cdk-lib';
import { Certificate, CertificateValidation } from 'aws-cdk-lib/aws-certificatemanager';
import { type IConnectable, Port, type Vpc } from 'aws-cdk-lib/aws-ec2';
import {
  ApplicationLoadBalancer,
  ApplicationProtocol,
  ApplicationTargetGroup,
  SslPolicy,
  TargetType,
} from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { CfnWebACLAssociation } from 'aws-cdk-lib/aws-wafv2';
import { Construct } from 'constructs';
import { AddressRateAcl } from '../address-rate-acl';
import type { HostNames } from '../app/host';
import type { Zone } from '../context';
import type { DataProtection } from '../environments';
import { suppressRule, suppressRuleWithin } from '../nag';

/** The shim's ports: traffic, and operations (readiness). */
const TRAFFIC_PORT = 8080;
const OPS_PORT = 8081;

/** Longer than the idle timeout of 10 minutes, so that the shim closes idle connections and not the load balancer. */
const IDLE_TIMEOUT = Duration.minutes(15);

/** Properties of the load balancer. */
export interface EntryProps {
  readonly vpc: Vpc;
  readonly hosts: HostNames;
  readonly zone: Zone;
  readonly pods: IConnectable;
  readonly data: DataProtection;
  /** Maximum number of requests of one address in five minutes. */
  readonly addressRate: number;
}

/** Load balancer, listener and target group. */
export class Entry extends Construct {
  readonly balancer: ApplicationLoadBalancer;
  readonly targets: ApplicationTargetGroup;

  constructor(scope: Construct, id: string, props: EntryProps) {
    super(scope, id);
    const { vpc, hosts, pods } = props;
    this.balancer = new ApplicationLoadBalancer(this, 'Balancer', {
      vpc,
      internetFacing: true,
      idleTimeout: IDLE_TIMEOUT,
      dropInvalidHeaderFields: true,
      deletionProtection: props.data === 'retained',
    });
    suppressRule(this.balancer, 'ELB2', 'Access logs contain URLs, and the URL of a browser may contain its token.');
    suppressRuleWithin(this.balancer, 'EC23', 'The load balancer is the public entry point.');
    this.targets = new ApplicationTargetGroup(this, 'Pods', {
      vpc,
      targetType: TargetType.IP,
      protocol: ApplicationProtocol.HTTP,
      port: TRAFFIC_PORT,
      healthCheck: { path: '/ready', port: String(OPS_PORT), interval: Duration.seconds(10), healthyThresholdCount: 2 },
      deregistrationDelay: Duration.seconds(60),
    });
    this.balancer.addListener('Https', {
      protocol: ApplicationProtocol.HTTPS,
      port: 443,
      sslPolicy: SslPolicy.TLS13_RES,
      certificates: [this.certificate(hosts, props.zone)],
      defaultTargetGroups: [this.targets],
    });
    const acl = new AddressRateAcl(this, 'Rate', { scope: 'REGIONAL', requestsPerFiveMinutes: props.addressRate });
    new CfnWebACLAssociation(this, 'RateAssociation', {
      resourceArn: this.balancer.loadBalancerArn,
      webAclArn: acl.arn,
    });
    for (const port of [TRAFFIC_PORT, OPS_PORT]) {
      pods.connections.allowFrom(this.balancer, Port.tcp(port), 'The load balancer');
    }
  }

  private certificate(hosts: HostNames, zone: Zone): Certificate {
    const hostedZone = HostedZone.fromHostedZoneAttributes(this, 'Zone', {
      hostedZoneId: zone.id,
      zoneName: zone.name,
    });
    return new Certificate(this, 'Certificate', {
      domainName: hosts.sockets,
      subjectAlternativeNames: [hosts.api],
      validation: CertificateValidation.fromDns(hostedZone),
    });
  }
}
