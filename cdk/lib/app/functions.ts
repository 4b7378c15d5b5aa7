/**
 * The five Lambda functions: arm64, `provided.al2023`, one role each with nothing but its own verbs.
 *
 * Every invocation is synchronous (API Gateway waits for the answer), so there is no dead-letter queue: a failure is the
 * caller's answer, and an alarm. API Gateway gives an integration 29 seconds; every timeout here is shorter.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Function as Lambda, LoggingFormat, Runtime, Tracing } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { setAsideWithin } from '../nag';
import {
  FUNCTION_NAMES,
  type FunctionName,
  GRANTS,
  HAS_EFFECTS,
  type TableName,
  titled,
  VARIABLES,
  VERIFIES_CALLERS,
} from '../names';
import type { Credentials } from './credentials';
import type { FunctionCode } from './function-code';
import type { Tables } from './tables';

/** What the functions are made of. */
export interface FunctionsProps {
  readonly environment: Environment;
  readonly code: FunctionCode;
  readonly tables: Tables;
  readonly credentials: Credentials;
}

/** Longest run of each function. The API may deliver to thousands of connections in one call. */
const TIMEOUTS: Readonly<Record<FunctionName, Duration>> = {
  // Longer than its wait for an identity provider's keys or for a secret; API Gateway gives an authorizer 10 seconds.
  authorizer: Duration.seconds(10),
  connect: Duration.seconds(10),
  disconnect: Duration.seconds(20),
  message: Duration.seconds(20),
  api: Duration.seconds(28),
};

const DESCRIPTIONS: Readonly<Record<FunctionName, string>> = {
  authorizer: 'Verifies the token of a handshake',
  connect: 'Records a connection ($connect)',
  disconnect: 'Forgets a connection ($disconnect)',
  message: 'Handles every message ($default)',
  api: 'The HTTP API for backends (/v1)',
};

/** All functions of one environment. */
export class Functions extends Construct {
  private readonly byName: ReadonlyMap<FunctionName, Lambda>;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: FunctionsProps,
  ) {
    super(scope, id);
    this.byName = new Map(FUNCTION_NAMES.map((name) => [name, this.lambda(name)]));
  }

  /** The functions with their names. */
  get all(): readonly (readonly [FunctionName, Lambda])[] {
    return [...this.byName];
  }

  /** One function. */
  named(name: FunctionName): Lambda {
    const found = this.byName.get(name);
    if (found === undefined) {
      throw new Error(`no function '${name}'`);
    }
    return found;
  }

  private lambda(name: FunctionName): Lambda {
    const { environment, code } = this.props;
    const scope = new Construct(this, titled(name));
    const logGroup = new LogGroup(scope, 'Logs', {
      retention: environment.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(scope, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    role.addToPolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: [logGroup.logGroupArn],
      }),
    );
    const lambda = new Lambda(scope, 'Function', {
      description: DESCRIPTIONS[name],
      runtime: Runtime.PROVIDED_AL2023,
      architecture: Architecture.ARM_64,
      handler: 'bootstrap',
      code: code(name),
      memorySize: environment.functionMemory,
      timeout: TIMEOUTS[name],
      tracing: Tracing.ACTIVE,
      loggingFormat: LoggingFormat.JSON,
      environment: this.variables(name),
      logGroup,
      role,
    });
    for (const table of tablesOf(name)) {
      this.props.tables.grant(lambda, ...table);
    }
    if (VERIFIES_CALLERS.has(name)) {
      this.props.credentials.grantRead(role);
    }
    setAsideWithin(
      role,
      'IAM5',
      'X-Ray has no resources to name, and a log group is written by naming all its streams.',
      ['Resource::*'],
    );
    return lambda;
  }

  private variables(name: FunctionName): Record<string, string> {
    const { environment, tables, credentials } = this.props;
    const effects = {
      [VARIABLES.connectionsTable]: tables.nameOf('connections'),
      [VARIABLES.messagesTable]: tables.nameOf('messages'),
      [VARIABLES.messageRetention]: `${environment.messageRetention.toDays()}d`,
    };
    return {
      RUST_LOG: 'info',
      ...(HAS_EFFECTS.has(name) ? effects : {}),
      ...(VERIFIES_CALLERS.has(name) ? credentials.variables : {}),
    };
  }
}

function tablesOf(name: FunctionName) {
  const order: readonly TableName[] = ['connections', 'messages'];
  return order.flatMap((table) => {
    const grant = GRANTS[name][table];
    return grant === undefined ? [] : [[table, grant] as const];
  });
}
