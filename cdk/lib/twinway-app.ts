/**
 * The CDK app: the stacks of an environment, their names, and cdk-nag over all of them.
 *
 * Without a DNS zone, the app has the application's stack only; with a zone, also its DNS records and, if configured,
 * the platform. `-c probe=only` selects the stack of the conformance suite's probe instead.
 */
import { App, type AppProps, Aspects, type StackProps, Tags } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { archives, probeArchive } from './app/function-code';
import { AppStack } from './app-stack';
import { BackupCopyStack } from './backup-copy-stack';
import { type OperatorContext, operatorContext } from './context';
import { EDGE_REGION, EdgeStack } from './edge-stack';
import { type Environment, findEnvironment } from './environments';
import { PlatformStack } from './platform-stack';
import { ProbeStack } from './probe-stack';
import { TrafficStack } from './traffic-stack';

/** App, environment and operator settings. */
interface Deployment {
  readonly app: App;
  readonly environment: Environment;
  readonly operator: OperatorContext;
}

/** Creates the CDK app for the environment and operator settings of its context. */
export function twinwayApp(lambdaDirectory: string, props?: AppProps): App {
  const app = new App(props);
  const environment = findEnvironment(app.node.tryGetContext('environment') ?? 'dev');
  const operator = operatorContext(app.node, lambdaDirectory);
  if (operator.probe === 'only') {
    new ProbeStack(app, stackId(environment, 'Probe'), {
      ...shared(environment, "conformance suite's probe behind a WebSocket API"),
      environment,
      code: probeArchive(operator.lambdaDirectory),
    });
  } else {
    applicationStacks({ app, environment, operator });
  }
  Tags.of(app).add('twinway:environment', environment.name);
  Aspects.of(app).add(new AwsSolutionsChecks());
  return app;
}

/** Creates the application's stack, and the optional stacks. */
function applicationStacks(deployment: Deployment): void {
  const { app, environment, operator } = deployment;
  const edge = operator.edge === 'waf' ? edgeStack(app, environment) : undefined;
  const application = new AppStack(app, stackId(environment, 'App'), {
    ...shared(environment, 'WebSocket and HTTP API, functions, tables, front ends'),
    ...(edge === undefined ? {} : { crossRegionReferences: true }),
    webAclArn: edge?.webAclArn,
    environment,
    operator,
    code: archives(operator.lambdaDirectory),
  });
  const platform = operator.platform === 'eks' ? platformStacks(deployment) : undefined;
  if (operator.zone !== undefined && application.hosts !== undefined) {
    new TrafficStack(app, stackId(environment, 'Traffic'), {
      ...shared(environment, 'DNS records between API Gateway and pods'),
      zone: operator.zone,
      gateway: application.hosts,
      pods: platform?.entry,
      podsShare: operator.podsShare,
    });
  }
}

/** Creates the stack with the web ACL of the front ends. */
function edgeStack(app: App, environment: Environment): EdgeStack {
  return new EdgeStack(app, stackId(environment, 'Edge'), environment, {
    ...shared(environment, 'web ACL of the front ends'),
    env: { region: EDGE_REGION },
    crossRegionReferences: true,
  });
}

/** Creates the platform's stack and the stack with the vault for copies of its backups. */
function platformStacks({ app, environment, operator }: Deployment): PlatformStack {
  const { zone } = operator;
  if (zone === undefined) {
    throw new Error('the platform requires a DNS zone for its certificate: add -c zone=Z0123456789ABC:example.com');
  }
  const copies = new BackupCopyStack(app, stackId(environment, 'BackupCopy'), environment, {
    ...shared(environment, 'vault for copies of backups in another region'),
    env: { region: environment.platform.backup.copyRegion },
  });
  const platform = new PlatformStack(app, stackId(environment, 'Platform'), {
    ...shared(environment, 'network, Kubernetes, Valkey, PostgreSQL, registry, backups'),
    environment,
    operator,
    zone,
  });
  platform.addStackDependency(copies);
  return platform;
}

const stackId = (environment: Environment, part: string): string => `Twinway-${environment.name}-${part}`;

function shared(environment: Environment, description: string): StackProps {
  return {
    description: `Twinway: ${description}`,
    env: { region: environment.region },
    terminationProtection: environment.data === 'retained',
  };
}
