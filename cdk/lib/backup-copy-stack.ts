/**
 * Vault for copies of the backups in another region.
 *
 * Its name is fixed, because the plan in the first region refers to it across regions.
 */
import { RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { BackupVault } from 'aws-cdk-lib/aws-backup';
import type { Construct } from 'constructs';
import type { Environment } from './environments';

/** Name of the vault for copies of the backups of `environment`. */
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
