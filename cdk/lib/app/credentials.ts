/**
 * What functions verify callers with: a generated signing secret unless an identity provider's keys are configured, and
 * the keys of backends.
 *
 * Both live in Secrets Manager. Templates hold references, never a value; CloudFormation puts the values into the
 * functions' environment, which Lambda encrypts and whoever may read a function's configuration can read. A key set is
 * public and needs none of this: prefer an identity provider.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
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

  /** The variables that tell a function how to verify callers. */
  readonly variables: Readonly<Record<string, string>>;

  constructor(
    scope: Construct,
    id: string,
    environment: Environment,
    private readonly callers: CallerSettings,
  ) {
    super(scope, id);
    this.signing = callers.keySet === undefined ? this.signingSecret(environment) : undefined;
    this.variables = this.references();
  }

  private references(): Record<string, string> {
    const { keySet, issuer, audience, previousSecretArn, apiKeysArn } = this.callers;
    const given = {
      [VARIABLES.secret]: this.signing?.secretValue.unsafeUnwrap(),
      [VARIABLES.previousSecrets]: this.value('Previous', previousSecretArn),
      [VARIABLES.apiKeys]: this.value('ApiKeys', apiKeysArn),
      [VARIABLES.keySet]: keySet,
      [VARIABLES.issuer]: issuer,
      [VARIABLES.audience]: audience,
    };
    return Object.fromEntries(
      Object.entries(given).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  }

  /** A reference that CloudFormation resolves, to the current value of the secret with that ARN. */
  private value(id: string, arn: string | undefined): string | undefined {
    return arn === undefined ? undefined : Secret.fromSecretCompleteArn(this, id, arn).secretValue.unsafeUnwrap();
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
