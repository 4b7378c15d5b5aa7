/**
 * Where the two front ends live: a private bucket behind CloudFront, and the HTTP API under the same name at `/v1`.
 *
 * The bucket starts empty; publishing the front ends fills it. There are no CloudFront and bucket access logs, because
 * they would hold visitors' addresses and query strings. Sockets do not pass here: browsers connect to the WebSocket API.
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
import { setAside } from '../nag';
import type { PushApi } from './push-api';
import type { SocketApi } from './socket-api';

/** Two years, what browsers' preload lists ask for at least half of (RFC 6797; hstspreload.org). */
const STRICT_TRANSPORT_AGE = Duration.days(730);

/** How long a replaced version of a file can still be brought back. */
const OLD_VERSIONS_KEPT = Duration.days(30);

const NO_ADDRESS_LOGS = 'Access logs hold addresses and query strings; requests are counted by CloudWatch instead.';

/** Bucket and distribution. */
export class WebSite extends Construct {
  readonly bucket: Bucket;
  readonly distribution: Distribution;

  constructor(scope: Construct, id: string, environment: Environment, sockets: SocketApi, push: PushApi) {
    super(scope, id);
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
    setAside(
      this.distribution,
      'CFR1',
      'Users are everywhere; a deployment that serves some countries only adds that itself.',
    );
    setAside(
      this.distribution,
      'CFR2',
      'Static files and an API that throttles and authenticates; a web ACL has a monthly price and is left to choice.',
    );
    setAside(this.distribution, 'CFR3', NO_ADDRESS_LOGS);
    setAside(
      this.distribution,
      'CFR4',
      'The name that CloudFront gives comes with its certificate and its TLS policy.',
    );
  }

  private makeBucket(environment: Environment): Bucket {
    const bucket = new Bucket(this, 'Files', {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      versioned: true,
      lifecycleRules: [{ noncurrentVersionExpiration: OLD_VERSIONS_KEPT }],
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    setAside(bucket, 'S1', NO_ADDRESS_LOGS);
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
