/**
 * What functions verify callers with: a generated signing secret unless an identity provider's keys are configured, and
 * the keys of backends.
 *
 * Both live in Secrets Manager, and functions read them there: neither a template nor a function's configuration holds a
 * value. Those that verify callers may read these secrets, and no others. A key set is public and needs none of this:
 * prefer an identity provider.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { type IRole, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { type ISecret, Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import type { CallerSettings } from '../context';
import type { Environment } from '../environments';
import { setAside } from '../nag';
import { VARIABLES } from '../names';

/** Characters of the generated secret; the verifier wants at least 32 bytes (RFC 7518, section 3.2). */
const SECRET_LENGTH = 64;

/** The secrets of one environment. */
export class Credentials extends Construct {
  /** Signs and verifies HS256 tokens; `undefined` where an identity provider publishes its keys. */
  readonly signing: ISecret | undefined;

  /** All that functions read. */
  private readonly read: ISecret[];

  /** The variables that tell a function how to verify callers. */
  readonly variables: Readonly<Record<string, string>>;

  constructor(
    scope: Construct,
    id: string,
    environment: Environment,
    private readonly callers: CallerSettings,
  ) {
    super(scope, id);
    const { keySet, keySetAddress, previousSecretArn, apiKeysArn } = callers;
    this.signing = (keySet ?? keySetAddress) === undefined ? this.signingSecret(environment) : undefined;
    const signing = [this.signing, this.secret('Previous', previousSecretArn)].filter((secret) => secret !== undefined);
    const apiKeys = this.secret('ApiKeys', apiKeysArn);
    this.read = apiKeys === undefined ? signing : [...signing, apiKeys];
    this.variables = this.settings(signing, apiKeys);
  }

  /** Lets a function read the current and the previous values. */
  grantRead(role: IRole): void {
    if (this.read.length > 0) {
      role.addToPrincipalPolicy(
        new PolicyStatement({
          actions: ['secretsmanager:GetSecretValue'],
          resources: this.read.map((secret) => secret.secretArn),
        }),
      );
    }
  }

  private settings(signing: readonly ISecret[], apiKeys: ISecret | undefined): Record<string, string> {
    const { keySet, keySetAddress, issuer, audience } = this.callers;
    const given = {
      [VARIABLES.secrets]: signing.length > 0 ? signing.map((secret) => secret.secretArn).join(',') : undefined,
      [VARIABLES.apiKeys]: apiKeys?.secretArn,
      [VARIABLES.keySet]: keySet,
      [VARIABLES.keySetAddress]: keySetAddress,
      [VARIABLES.issuer]: issuer,
      [VARIABLES.audience]: audience,
    };
    return Object.fromEntries(
      Object.entries(given).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
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
    setAside(
      secret,
      'SMG4',
      'A new signing secret ends every token that the old one signed; it is changed by hand with an overlap (docs/AWS.md).',
    );
    return secret;
  }
}
