/**
 * Network of the pods over three availability zones: load balancers in public subnets, nodes in private ones, data
 * stores in isolated ones.
 *
 * Endpoints connect AWS services, so traffic for images, secrets and logs neither leaves the network nor incurs NAT
 * gateway charges. The flow log records rejected packets only.
 */
import {
  FlowLogTrafficType,
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpointAwsService,
  IpAddresses,
  Peer,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2';
import { Construct } from 'constructs';
import type { PlatformSettings } from '../environments';

/** Address range of the network: 65,536 addresses, of which the nodes of each zone have 8,192 for pods. */
const NETWORK_CIDR = '10.42.0.0/16';

const INTERFACE_ENDPOINTS = {
  EcrApi: InterfaceVpcEndpointAwsService.ECR,
  EcrImages: InterfaceVpcEndpointAwsService.ECR_DOCKER,
  Logs: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
  Tokens: InterfaceVpcEndpointAwsService.STS,
  Secrets: InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
  PodIdentity: InterfaceVpcEndpointAwsService.EKS_AUTH,
};

/** VPC, subnets and endpoints. */
export class Network extends Construct {
  readonly vpc: Vpc;
  /** Address ranges of the subnets of load balancers. */
  readonly entryCidrs: readonly string[];
  /** Address ranges of the subnets of data stores. */
  readonly dataCidrs: readonly string[];

  constructor(scope: Construct, id: string, settings: PlatformSettings) {
    super(scope, id);
    this.vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr(NETWORK_CIDR),
      availabilityZones: [...settings.zones],
      natGateways: settings.natGateways,
      subnetConfiguration: [
        { name: 'Public', subnetType: SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
        { name: 'Nodes', subnetType: SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 19 },
        { name: 'Data', subnetType: SubnetType.PRIVATE_ISOLATED, cidrMask: 24 },
      ],
      gatewayEndpoints: {
        Objects: { service: GatewayVpcEndpointAwsService.S3 },
        Tables: { service: GatewayVpcEndpointAwsService.DYNAMODB },
      },
      flowLogs: { Refused: { trafficType: FlowLogTrafficType.REJECT } },
    });
    this.entryCidrs = this.vpc.publicSubnets.map((subnet) => subnet.ipv4CidrBlock);
    this.dataCidrs = this.vpc.isolatedSubnets.map((subnet) => subnet.ipv4CidrBlock);
    const subnets = { subnetType: SubnetType.PRIVATE_WITH_EGRESS };
    for (const [name, service] of Object.entries(INTERFACE_ENDPOINTS)) {
      const endpoint = this.vpc.addInterfaceEndpoint(name, { service, subnets, open: false });
      endpoint.connections.allowDefaultPortFrom(Peer.ipv4(NETWORK_CIDR), 'The network');
    }
  }
}
