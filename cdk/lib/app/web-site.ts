/**
 * Hosting of the two planned front ends: a private bucket behind CloudFront, and the HTTP API under the same host name
 * at `/v1`.
 *
 * The bucket is empty until the front ends are published. CloudFront and the bucket write no access logs, because those
 * would contain visitors' addresses and query strings. Browsers open WebSockets to the WebSocket API directly.
 */
import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import {
  AllowedMethods,
  CachePolicy,
  Distribution,
  HeadersFrameOption,
  HeadersReferrerPolicy,
  HttpVersion,
  OriginRequestPolicy,
  PriceClass,
  ResponseHeadersPolicy,
  ViewerProtocolPolicy,
} from 'aws-cdk-lib/aws-cloudfront';
import { HttpOrigin, S3BucketOrigin } from 'aws-cdk-lib/aws-cloudfront-origins';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRule } from '../nag';
import type { PushApi } from './push-api';
import type { SocketApi } from './socket-api';

/** Two years; browsers' preload lists require at least one (RFC 6797; hstspreload.org). */
const STRICT_TRANSPORT_AGE = Duration.days(730);

/** Time after which replaced versions of a file are deleted. */
const OLD_VERSION_RETENTION = Duration.days(30);

const NO_ADDRESS_LOGS = 'Access logs contain addresses and query strings; CloudWatch counts the requests.';

/** Properties of the front ends' hosting. */
export interface WebSiteProps {
  readonly environment: Environment;
  readonly sockets: SocketApi;
  readonly push: PushApi;
  /** ARN of the web ACL in `us-east-1`, if there is one. */
  readonly webAclArn: string | undefined;
}

/** Bucket and distribution of the front ends. */
export class WebSite extends Construct {
  readonly bucket: Bucket;
  readonly distribution: Distribution;

  constructor(scope: Construct, id: string, props: WebSiteProps) {
    super(scope, id);
    const { environment, sockets, push, webAclArn } = props;
    this.bucket = this.makeBucket(environment);
    const responseHeadersPolicy = this.headers(sockets);
    const viewerProtocolPolicy = ViewerProtocolPolicy.REDIRECT_TO_HTTPS;
    const stack = Stack.of(this);
    const apiOrigin = new HttpOrigin(`${push.api.apiId}.execute-api.${stack.region}.${stack.urlSuffix}`);
    this.distribution = new Distribution(this, 'Distribution', {
      comment: `Twinway front ends (${environment.name})`,
      defaultRootObject: 'index.html',
      httpVersion: HttpVersion.HTTP2_AND_3,
      priceClass: PriceClass.PRICE_CLASS_100,
      ...(webAclArn === undefined ? {} : { webAclId: webAclArn }),
      defaultBehavior: {
        origin: S3BucketOrigin.withOriginAccessControl(this.bucket),
        viewerProtocolPolicy,
        responseHeadersPolicy,
      },
      additionalBehaviors: {
        '/v1/*': {
          origin: apiOrigin,
          viewerProtocolPolicy: ViewerProtocolPolicy.HTTPS_ONLY,
          allowedMethods: AllowedMethods.ALLOW_ALL,
          cachePolicy: CachePolicy.CACHING_DISABLED,
          originRequestPolicy: OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
          responseHeadersPolicy,
        },
      },
    });
    suppressRule(this.distribution, 'CFR1', 'The default serves all countries; a deployment may add a restriction.');
    if (webAclArn === undefined) {
      suppressRule(this.distribution, 'CFR2', 'A web ACL has a monthly price and is optional: -c edge=waf.');
    }
    suppressRule(this.distribution, 'CFR3', NO_ADDRESS_LOGS);
    suppressRule(
      this.distribution,
      'CFR4',
      'The default CloudFront domain name includes its certificate and TLS policy.',
    );
  }

  private makeBucket(environment: Environment): Bucket {
    const bucket = new Bucket(this, 'Files', {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      versioned: true,
      lifecycleRules: [{ noncurrentVersionExpiration: OLD_VERSION_RETENTION }],
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    suppressRule(bucket, 'S1', NO_ADDRESS_LOGS);
    return bucket;
  }

  private headers(sockets: SocketApi): ResponseHeadersPolicy {
    const socketOrigin = sockets.url.slice(0, sockets.url.lastIndexOf('/'));
    const contentSecurityPolicy = [
      "default-src 'self'",
      `connect-src 'self' ${socketOrigin}`,
      "base-uri 'none'",
      "form-action 'self'",
      "frame-ancestors 'none'",
      "object-src 'none'",
    ].join('; ');
    return new ResponseHeadersPolicy(this, 'Headers', {
      securityHeadersBehavior: {
        contentSecurityPolicy: { contentSecurityPolicy, override: true },
        contentTypeOptions: { override: true },
        frameOptions: { frameOption: HeadersFrameOption.DENY, override: true },
        referrerPolicy: { referrerPolicy: HeadersReferrerPolicy.NO_REFERRER, override: true },
        strictTransportSecurity: {
          accessControlMaxAge: STRICT_TRANSPORT_AGE,
          includeSubdomains: true,
          override: true,
        },
      },
    });
  }
}
