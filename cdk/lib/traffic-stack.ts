/**
 * DNS records of the two deployments, weighted to send a share of new connections to the pods and the rest to API
 * Gateway.
 *
 * It is a separate stack, so a change of weights deploys records only. A weight affects new name resolutions; open
 * connections stay where they are until they close.
 */
import { Stack, type StackProps } from 'aws-cdk-lib';
import { ARecord, HostedZone, type IHostedZone, RecordTarget } from 'aws-cdk-lib/aws-route53';
import { ApiGatewayv2DomainProperties, LoadBalancerTarget } from 'aws-cdk-lib/aws-route53-targets';
import type { Construct } from 'constructs';
import type { Host } from './app/host';
import type { GatewayHosts } from './app-stack';
import type { Zone } from './context';
import type { Entry } from './platform/entry';

/** Properties of the traffic stack. */
export interface TrafficStackProps extends StackProps {
  readonly zone: Zone;
  readonly gateway: GatewayHosts;
  /** Load balancer of the pods, if there is a platform. */
  readonly pods: Entry | undefined;
  /** Percentage of new connections for the pods. */
  readonly podsShare: number;
}

/** The weighted records. */
export class TrafficStack extends Stack {
  private readonly hostedZone: IHostedZone;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: TrafficStackProps,
  ) {
    super(scope, id, props);
    if (props.pods === undefined && props.podsShare > 0) {
      throw new Error('podsShare needs the platform: add -c platform=eks');
    }
    const { zone, gateway } = props;
    this.hostedZone = HostedZone.fromHostedZoneAttributes(this, 'Zone', { hostedZoneId: zone.id, zoneName: zone.name });
    this.records('Sockets', gateway.sockets);
    this.records('Api', gateway.api);
  }

  private records(id: string, host: Host): void {
    const { pods, podsShare } = this.props;
    const { regionalDomainName, regionalHostedZoneId } = host.domain;
    const gatewayTarget = new ApiGatewayv2DomainProperties(regionalDomainName, regionalHostedZoneId);
    this.record(`${id}Gateway`, host.name, RecordTarget.fromAlias(gatewayTarget), 100 - podsShare);
    if (pods !== undefined) {
      // Route 53 omits a load balancer without a healthy target, regardless of its weight.
      const podsTarget = new LoadBalancerTarget(pods.balancer, { evaluateTargetHealth: true });
      this.record(`${id}Pods`, host.name, RecordTarget.fromAlias(podsTarget), podsShare);
    }
  }

  private record(id: string, recordName: string, target: RecordTarget, weight: number): void {
    new ARecord(this, id, { zone: this.hostedZone, recordName, target, weight, setIdentifier: id });
  }
}
