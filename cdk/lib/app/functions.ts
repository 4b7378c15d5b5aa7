/**
 * The five Lambda functions: arm64, `provided.al2023`, each with its own role and only the permissions that it uses.
 *
 * Every invocation is synchronous (API Gateway waits for the response), so there is no dead-letter queue: a failure is
 * returned to the caller and raises an alarm. API Gateway times out after 29 seconds; every timeout here is shorter.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Function as Lambda, LoggingFormat, Runtime, Tracing } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { suppressRuleWithin } from '../nag';
import {
  ACCESSES_STORES,
  capitalized,
  FUNCTION_NAMES,
  type FunctionName,
  GRANTS,
  type Limits,
  limitVariables,
  type PresenceNames,
  type TableName,
  VARIABLES,
  VERIFIES_CALLERS,
} from '../names';
import type { Credentials } from './credentials';
import type { FunctionCode } from './function-code';
import type { Tables } from './tables';

/** Properties of the functions. */
export interface FunctionsProps {
  readonly environment: Environment;
  readonly code: FunctionCode;
  readonly tables: Tables;
  readonly credentials: Credentials;
  readonly limits: Limits;
  readonly presenceNames: PresenceNames | undefined;
}

/** Timeout of each function. One call of the API may deliver to thousands of connections. */
const TIMEOUTS: Readonly<Record<FunctionName, Duration>> = {
  // Longer than fetching an identity provider's keys or reading a secret; API Gateway gives an authorizer 10 seconds.
  authorizer: Duration.seconds(10),
  connect: Duration.seconds(10),
  disconnect: Duration.seconds(20),
  message: Duration.seconds(20),
  api: Duration.seconds(28),
};

const DESCRIPTIONS: Readonly<Record<FunctionName, string>> = {
  authorizer: 'Verifies the token of a handshake',
  connect: 'Registers a connection ($connect)',
  disconnect: 'Deletes a connection ($disconnect)',
  message: 'Handles messages ($default)',
  api: 'HTTP API for backends (/v1)',
};

/** All functions of an environment. */
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

  /** The functions and their names. */
  get all(): readonly (readonly [FunctionName, Lambda])[] {
    return [...this.byName];
  }

  /** The function with this name. */
  named(name: FunctionName): Lambda {
    const found = this.byName.get(name);
    if (found === undefined) {
      throw new Error(`no function '${name}'`);
    }
    return found;
  }

  private lambda(name: FunctionName): Lambda {
    const { environment, code } = this.props;
    const reserved = environment.reservedConcurrency[name];
    const scope = new Construct(this, capitalized(name));
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
      ...(reserved === undefined ? {} : { reservedConcurrentExecutions: reserved }),
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
    suppressRuleWithin(
      role,
      'IAM5',
      'X-Ray has no resource-level permissions, and log streams are created by the function.',
      ['Resource::*'],
    );
    return lambda;
  }

  private variables(name: FunctionName): Record<string, string> {
    const { environment, tables, credentials, limits, presenceNames } = this.props;
    const stores = {
      [VARIABLES.connectionsTable]: tables.nameOf('connections'),
      [VARIABLES.messagesTable]: tables.nameOf('messages'),
      [VARIABLES.messageRetention]: `${environment.messageRetention.toDays()}d`,
      ...limitVariables(limits),
      ...(presenceNames === undefined ? {} : { [VARIABLES.presenceNames]: presenceNames }),
    };
    return {
      RUST_LOG: 'info',
      ...(ACCESSES_STORES.has(name) ? stores : {}),
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
