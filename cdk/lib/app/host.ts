/**
 * Custom domain name of an API: certificate and API Gateway domain.
 *
 * A WebSocket API and an HTTP API cannot share a domain name ("Custom domain names", API Gateway guide), so each has
 * its own. The DNS records are in the traffic stack, because the pods serve the same names.
 */
import { DomainName, SecurityPolicy } from 'aws-cdk-lib/aws-apigatewayv2';
import { Certificate, CertificateValidation } from 'aws-cdk-lib/aws-certificatemanager';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { Zone } from '../context';
import type { Environment } from '../environments';

/** The two domain names of an environment. */
export interface HostNames {
  readonly sockets: string;
  readonly api: string;
}

/** The domain names of `environment` in `zone`. */
export function hostNames(environment: Environment, zone: Zone): HostNames {
  const suffix = `${environment.hostPrefix}${zone.name}`;
  return { sockets: `ws.${suffix}`, api: `api.${suffix}` };
}

/** Regional domain name of API Gateway with a certificate that is renewed automatically. */
export class Host extends Construct {
  readonly domain: DomainName;

  constructor(
    scope: Construct,
    id: string,
    readonly name: string,
    zone: Zone,
  ) {
    super(scope, id);
    const hostedZone = HostedZone.fromHostedZoneAttributes(this, 'Zone', {
      hostedZoneId: zone.id,
      zoneName: zone.name,
    });
    const certificate = new Certificate(this, 'Certificate', {
      domainName: name,
      validation: CertificateValidation.fromDns(hostedZone),
    });
    this.domain = new DomainName(this, 'Domain', {
      domainName: name,
      certificate,
      securityPolicy: SecurityPolicy.TLS_1_2,
    });
  }
}
