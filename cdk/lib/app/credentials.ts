/**
 * Credentials that the functions verify callers with: a signing secret, generated unless an identity provider's key set
 * is configured, and the API keys of backends.
 *
 * Both are in Secrets Manager and read by the functions at run time, so neither a template nor a function's
 * configuration contains a value. Only functions that verify callers may read them. A key set is public and needs no
 * secret: prefer an identity provider.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { type IRole, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { type ISecret, Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import type { CallerSettings } from '../context';
import type { Environment } from '../environments';
import { suppressRule } from '../nag';
import { claimVariables, VARIABLES } from '../names';

/** Characters of the generated secret; the verifier requires at least 32 bytes (RFC 7518, section 3.2). */
const SECRET_LENGTH = 64;

/** The secrets of one environment. */
export class Credentials extends Construct {
  /** Signs and verifies HS256 tokens; `undefined` if an identity provider publishes its keys. */
  readonly signing: ISecret | undefined;

  /** All secrets that functions read. */
  private readonly readable: ISecret[];

  /** Environment variables of the functions that verify callers. */
  readonly variables: Readonly<Record<string, string>>;

  constructor(
    scope: Construct,
    id: string,
    environment: Environment,
    private readonly callers: CallerSettings,
  ) {
    super(scope, id);
    const { keySet, keySetUrl, previousSecretArn, apiKeysArn } = callers;
    this.signing = (keySet ?? keySetUrl) === undefined ? this.signingSecret(environment) : undefined;
    const signing = [this.signing, this.secret('Previous', previousSecretArn)].filter((secret) => secret !== undefined);
    const apiKeys = this.secret('ApiKeys', apiKeysArn);
    this.readable = apiKeys === undefined ? signing : [...signing, apiKeys];
    this.variables = this.settings(signing, apiKeys);
  }

  /** Grants a function access to the current and the previous values. */
  grantRead(role: IRole): void {
    if (this.readable.length > 0) {
      role.addToPrincipalPolicy(
        new PolicyStatement({
          actions: ['secretsmanager:GetSecretValue'],
          resources: this.readable.map((secret) => secret.secretArn),
        }),
      );
    }
  }

  private settings(signing: readonly ISecret[], apiKeys: ISecret | undefined): Record<string, string> {
    const { keySet, keySetUrl, issuer, audience, claims } = this.callers;
    const variables = {
      [VARIABLES.secrets]: signing.length > 0 ? signing.map((secret) => secret.secretArn).join(',') : undefined,
      [VARIABLES.apiKeys]: apiKeys?.secretArn,
      [VARIABLES.keySet]: keySet,
      [VARIABLES.keySetUrl]: keySetUrl,
      [VARIABLES.issuer]: issuer,
      [VARIABLES.audience]: audience,
      ...claimVariables(claims),
    };
    return Object.fromEntries(
      Object.entries(variables).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  }

  private secret(id: string, arn: string | undefined): ISecret | undefined {
    return arn === undefined ? undefined : Secret.fromSecretCompleteArn(this, id, arn);
  }

  private signingSecret(environment: Environment): ISecret {
    const { signingSecretArn } = this.callers;
    if (signingSecretArn !== undefined) {
      return Secret.fromSecretCompleteArn(this, 'Signing', signingSecretArn);
    }
    const secret = new Secret(this, 'Signing', {
      description: `Signs the tokens of Twinway (${environment.name})`,
      generateSecretString: { passwordLength: SECRET_LENGTH, excludePunctuation: true },
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    suppressRule(
      secret,
      'SMG4',
      'A rotation invalidates tokens of the old secret, so it is done by hand with an overlap (docs/AWS.md).',
    );
    return secret;
  }
}
