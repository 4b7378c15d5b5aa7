/**
 * Which stacks an environment has, how they are named, and the checks that run over all of them.
 *
 * Without a DNS zone there is the application alone; with one come its records, and the platform where it is asked for.
 */
import { App, type AppProps, Aspects, Tags } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { archives } from './app/function-code';
import { AppStack } from './app-stack';
import { BackupCopyStack } from './backup-copy-stack';
import { operatorContext } from './context';
import { environment } from './environments';
import { PlatformStack } from './platform-stack';
import { TrafficStack } from './traffic-stack';

/** The CDK app for the environment and operator that its context names. */
export function twinwayApp(lambdaDirectory: string, props?: AppProps): App {
  const app = new App(props);
  const chosen = environment(app.node.tryGetContext('environment') ?? 'dev');
  const operator = operatorContext(app.node, lambdaDirectory);
  const id = (part: string) => `Twinway-${chosen.name}-${part}`;
  const shared = {
    env: { region: chosen.region },
    terminationProtection: chosen.data === 'retained',
  };
  const application = new AppStack(app, id('App'), {
    ...shared,
    description: 'Twinway: WebSocket and HTTP API, functions, tables, front ends',
    environment: chosen,
    operator,
    code: archives(operator.lambdaDirectory),
  });
  const { zone } = operator;
  if (operator.platform === 'eks' && zone === undefined) {
    throw new Error('the platform needs a DNS zone for its certificate: add -c zone=Z0123456789ABC:example.com');
  }
  let platform: PlatformStack | undefined;
  if (operator.platform === 'eks' && zone !== undefined) {
    const copies = new BackupCopyStack(app, id('BackupCopy'), chosen, {
      ...shared,
      env: { region: chosen.platform.backup.copyRegion },
      description: 'Twinway: the vault of the backups that are kept in another region',
    });
    platform = new PlatformStack(app, id('Platform'), {
      ...shared,
      description: 'Twinway: network, Kubernetes, Valkey, PostgreSQL, registry, backups',
      environment: chosen,
      operator,
      zone,
    });
    platform.addStackDependency(copies);
  }
  if (zone !== undefined && application.hosts !== undefined) {
    new TrafficStack(app, id('Traffic'), {
      ...shared,
      description: 'Twinway: DNS records between API Gateway and pods',
      zone,
      gateway: application.hosts,
      pods: platform?.entry,
      podsShare: operator.podsShare,
    });
  }
  Tags.of(app).add('twinway:environment', chosen.name);
  Aspects.of(app).add(new AwsSolutionsChecks());
  return app;
}
