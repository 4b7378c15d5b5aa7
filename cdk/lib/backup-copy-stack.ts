/**
 * The vault, in another region, that copies of the backups go to.
 *
 * Its name is fixed, because the plan in the first region must name it before it can know it.
 */
import { RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { BackupVault } from 'aws-cdk-lib/aws-backup';
import type { Construct } from 'constructs';
import type { Environment } from './environments';

/** The name of the vault of `environment`'s copies. */
export const copyVaultName = (environment: Environment): string => `twinway-${environment.name}-copies`;

/** The stack of the second region. */
export class BackupCopyStack extends Stack {
  constructor(scope: Construct, id: string, environment: Environment, props: StackProps) {
    super(scope, id, props);
    new BackupVault(this, 'Copies', {
      backupVaultName: copyVaultName(environment),
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
  }
}
