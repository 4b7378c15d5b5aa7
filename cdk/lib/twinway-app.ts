/**
 * Which stacks an environment has, how they are named, and the checks that run over all of them.
 *
 * Without a DNS zone there is the application alone; with one come its records, and the platform where it is asked for.
 * The conformance suite's probes are an app of their own: `-c probe=only`.
 */
import { App, type AppProps, Aspects, type StackProps, Tags } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { archives, probeArchive } from './app/function-code';
import { AppStack } from './app-stack';
import { BackupCopyStack } from './backup-copy-stack';
import { type OperatorContext, operatorContext } from './context';
import { type Environment, environment } from './environments';
import { PlatformStack } from './platform-stack';
import { ProbeStack } from './probe-stack';
import { TrafficStack } from './traffic-stack';

/** The stacks of one environment that are made from here: what they share. */
interface Deployment {
  readonly app: App;
  readonly chosen: Environment;
  readonly operator: OperatorContext;
}

/** The CDK app for the environment and operator that its context names. */
export function twinwayApp(lambdaDirectory: string, props?: AppProps): App {
  const app = new App(props);
  const chosen = environment(app.node.tryGetContext('environment') ?? 'dev');
  const operator = operatorContext(app.node, lambdaDirectory);
  if (operator.probe === 'only') {
    new ProbeStack(app, stackId(chosen, 'Probe'), {
      ...shared(chosen, "the conformance suite's probes behind a WebSocket API"),
      environment: chosen,
      code: probeArchive(operator.lambdaDirectory),
    });
  } else {
    applicationStacks({ app, chosen, operator });
  }
  Tags.of(app).add('twinway:environment', chosen.name);
  Aspects.of(app).add(new AwsSolutionsChecks());
  return app;
}

/** The application, and what an operator asked for beside it. */
function applicationStacks(deployment: Deployment): void {
  const { app, chosen, operator } = deployment;
  const application = new AppStack(app, stackId(chosen, 'App'), {
    ...shared(chosen, 'WebSocket and HTTP API, functions, tables, front ends'),
    environment: chosen,
    operator,
    code: archives(operator.lambdaDirectory),
  });
  const platform = operator.platform === 'eks' ? platformStacks(deployment) : undefined;
  if (operator.zone !== undefined && application.hosts !== undefined) {
    new TrafficStack(app, stackId(chosen, 'Traffic'), {
      ...shared(chosen, 'DNS records between API Gateway and pods'),
      zone: operator.zone,
      gateway: application.hosts,
      pods: platform?.entry,
      podsShare: operator.podsShare,
    });
  }
}

/** The platform, and before it the vault that its backups are copied to. */
function platformStacks({ app, chosen, operator }: Deployment): PlatformStack {
  const { zone } = operator;
  if (zone === undefined) {
    throw new Error('the platform needs a DNS zone for its certificate: add -c zone=Z0123456789ABC:example.com');
  }
  const copies = new BackupCopyStack(app, stackId(chosen, 'BackupCopy'), chosen, {
    ...shared(chosen, 'the vault of the backups that are kept in another region'),
    env: { region: chosen.platform.backup.copyRegion },
  });
  const platform = new PlatformStack(app, stackId(chosen, 'Platform'), {
    ...shared(chosen, 'network, Kubernetes, Valkey, PostgreSQL, registry, backups'),
    environment: chosen,
    operator,
    zone,
  });
  platform.addStackDependency(copies);
  return platform;
}

const stackId = (chosen: Environment, part: string): string => `Twinway-${chosen.name}-${part}`;

function shared(chosen: Environment, description: string): StackProps {
  return {
    description: `Twinway: ${description}`,
    env: { region: chosen.region },
    terminationProtection: chosen.data === 'retained',
  };
}
