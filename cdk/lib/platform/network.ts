/**
 * The network of the pods: three zones; load balancers in public subnets, nodes in private ones, data in isolated ones.
 *
 * AWS's own services are reached through endpoints, so that images, secrets and logs neither leave the network nor pay
 * for a NAT gateway. The flow log records refused packets only.
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

/** The network's addresses: 65,536, of which a zone's nodes have 8,192 for pods. */
const ADDRESSES = '10.42.0.0/16';

const INTERFACE_ENDPOINTS = {
  EcrApi: InterfaceVpcEndpointAwsService.ECR,
  EcrImages: InterfaceVpcEndpointAwsService.ECR_DOCKER,
  Logs: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
  Tokens: InterfaceVpcEndpointAwsService.STS,
  Secrets: InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
  PodIdentity: InterfaceVpcEndpointAwsService.EKS_AUTH,
};

/** VPC, subnets, endpoints. */
export class Network extends Construct {
  readonly vpc: Vpc;

  constructor(scope: Construct, id: string, settings: PlatformSettings) {
    super(scope, id);
    this.vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr(ADDRESSES),
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
    const subnets = { subnetType: SubnetType.PRIVATE_WITH_EGRESS };
    for (const [name, service] of Object.entries(INTERFACE_ENDPOINTS)) {
      const endpoint = this.vpc.addInterfaceEndpoint(name, { service, subnets, open: false });
      endpoint.connections.allowDefaultPortFrom(Peer.ipv4(ADDRESSES), 'The network');
    }
  }
}
