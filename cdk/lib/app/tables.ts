/**
 * The DynamoDB tables: on demand, with point-in-time recovery and TTL, and with deletion protection if data is
 * retained.
 *
 * `names.ts` defines keys and indexes; a function is granted only the actions listed there, on the table and its
 * indexes.
 */
import { RemovalPolicy, Tags } from 'aws-cdk-lib';
import { Billing, type GlobalSecondaryIndexPropsV2, TableEncryptionV2, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Environment } from '../environments';
import { BACKUP_TAG, TABLES, type TableGrant, type TableName, type TableShape } from '../names';

/** The tables of an environment. */
export class Tables extends Construct {
  private readonly byName: Readonly<Record<TableName, TableV2>>;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    this.byName = {
      connections: this.table('Connections', TABLES.connections, environment),
      messages: this.table('Messages', TABLES.messages, environment),
    };
  }

  /** The tables and their names. */
  get all(): readonly (readonly [TableName, TableV2])[] {
    return [
      ['connections', this.byName.connections],
      ['messages', this.byName.messages],
    ];
  }

  /** Name of the table, chosen by CloudFormation. */
  nameOf(table: TableName): string {
    return this.byName[table].tableName;
  }

  /** Grants `grantee` exactly the actions of `grant` on a table. */
  grant(grantee: IGrantable, name: TableName, grant: TableGrant): void {
    const table = this.byName[name];
    Grant.addToPrincipal({ grantee, actions: verbs(grant.table), resourceArns: [table.tableArn] });
    if (grant.indexes.length > 0) {
      const resourceArns = grant.indexes.map((index) => `${table.tableArn}/index/${index}`);
      Grant.addToPrincipal({ grantee, actions: verbs(['Query']), resourceArns });
    }
  }

  private table(id: string, shape: TableShape, environment: Environment): TableV2 {
    const retained = environment.data === 'retained';
    const table = new TableV2(this, id, {
      partitionKey: shape.partitionKey,
      sortKey: shape.sortKey,
      globalSecondaryIndexes: Object.entries(shape.indexes).map(
        ([indexName, keys]): GlobalSecondaryIndexPropsV2 => ({ indexName, ...keys }),
      ),
      billing: Billing.onDemand(),
      timeToLiveAttribute: shape.expiry,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      encryption:
        environment.tableKey === 'aws' ? TableEncryptionV2.awsManagedKey() : TableEncryptionV2.dynamoOwnedKey(),
      deletionProtection: retained,
      removalPolicy: retained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    Tags.of(table).add(BACKUP_TAG, environment.name);
    return table;
  }
}

const verbs = (names: readonly string[]): string[] => names.map((name) => `dynamodb:${name}`);
