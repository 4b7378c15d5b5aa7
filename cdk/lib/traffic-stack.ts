/**
 * DNS between the two deployments: weighted records that send a share of new connections to the pods, the rest to API
 * Gateway.
 *
 * A stack of its own, so that moving traffic touches records and nothing else. A weight decides where a name resolves to
 * from now on; open sockets stay where they are until they end.
 */
import { Stack, type StackProps } from 'aws-cdk-lib';
import { ARecord, HostedZone, type IHostedZone, RecordTarget } from 'aws-cdk-lib/aws-route53';
import { ApiGatewayv2DomainProperties, LoadBalancerTarget } from 'aws-cdk-lib/aws-route53-targets';
import type { Construct } from 'constructs';
import type { Host } from './app/host';
import type { GatewayHosts } from './app-stack';
import type { Zone } from './context';
import type { Entry } from './platform/entry';

/** Where traffic can go. */
export interface TrafficStackProps extends StackProps {
  readonly zone: Zone;
  readonly gateway: GatewayHosts;
  /** The pods' way in, where there is a platform. */
  readonly pods: Entry | undefined;
  /** Per cent of new connections for the pods. */
  readonly podsShare: number;
}

/** The records. */
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
      // A balancer without a ready pod is left out of the answers, whatever its weight.
      const podsTarget = new LoadBalancerTarget(pods.balancer, { evaluateTargetHealth: true });
      this.record(`${id}Pods`, host.name, RecordTarget.fromAlias(podsTarget), podsShare);
    }
  }

  private record(id: string, recordName: string, target: RecordTarget, weight: number): void {
    new ARecord(this, id, { zone: this.hostedZone, recordName, target, weight, setIdentifier: id });
  }
}
