/**
 * Daily backups of everything with the environment's tag (tables of the application, the database), copied to another
 * region.
 *
 * The vault of the copies is a stack of its own (`backup-copy-stack.ts`), because a stack lives in one region. Valkey is not
 * in the plan: AWS Backup does not take it, and it has snapshots of its own.
 */
import { ArnFormat, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { BackupPlan, BackupPlanRule, BackupResource, BackupVault } from 'aws-cdk-lib/aws-backup';
import { Schedule } from 'aws-cdk-lib/aws-events';
import { Construct } from 'constructs';
import { copyVaultName } from '../backup-copy-stack';
import type { Environment } from '../environments';
import { setAsideWithin } from '../nag';
import { BACKUP_TAG } from '../names';

/** Vault and plan. */
export class Backups extends Construct {
  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    const { backup } = environment.platform;
    const vault = new BackupVault(this, 'Vault', {
      removalPolicy: environment.data === 'retained' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    const copyVaultArn = Stack.of(this).formatArn({
      service: 'backup',
      region: backup.copyRegion,
      resource: 'backup-vault',
      resourceName: copyVaultName(environment),
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    const plan = new BackupPlan(this, 'Plan', { backupVault: vault });
    plan.addRule(
      new BackupPlanRule({
        ruleName: 'daily',
        scheduleExpression: Schedule.cron({ hour: '4', minute: '0' }),
        deleteAfter: Duration.days(backup.keepDays),
        copyActions: [
          {
            destinationBackupVault: BackupVault.fromBackupVaultArn(this, 'Copies', copyVaultArn),
            deleteAfter: Duration.days(backup.keepCopyDays),
          },
        ],
      }),
    );
    const selection = plan.addSelection('Tagged', {
      resources: [BackupResource.fromTag(BACKUP_TAG, environment.name)],
      allowRestores: true,
    });
    setAsideWithin(selection, 'IAM4', 'AWS Backup documents these AWS policies as the rights to back up and restore.');
  }
}
