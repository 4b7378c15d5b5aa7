/**
 * Daily backups of all resources with the environment's tag (tables of the application, the database), copied to
 * another region.
 *
 * A stack belongs to one region, so the vault for copies is in a separate stack (`backup-copy-stack.ts`). Valkey is not
 * part of the plan: AWS Backup does not support it, and ElastiCache takes its own snapshots.
 */
import { ArnFormat, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { BackupPlan, BackupPlanRule, BackupResource, BackupVault } from 'aws-cdk-lib/aws-backup';
import { Schedule } from 'aws-cdk-lib/aws-events';
import { Construct } from 'constructs';
import { copyVaultName } from '../backup-copy-stack';
import type { Environment } from '../environments';
import { suppressRuleWithin } from '../nag';
import { BACKUP_TAG } from '../names';

/** Backup vault and plan. */
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
    suppressRuleWithin(
      selection,
      'IAM4',
      'AWS Backup documents these AWS policies as the permissions to back up and restore.',
    );
  }
}
