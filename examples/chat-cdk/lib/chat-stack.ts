import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import { WebSocketApi, WebSocketStage } from "aws-cdk-lib/aws-apigatewayv2";
import { WebSocketLambdaIntegration } from "aws-cdk-lib/aws-apigatewayv2-integrations";
import { AttributeType, TableV2 } from "aws-cdk-lib/aws-dynamodb";
import { Runtime } from "aws-cdk-lib/aws-lambda";
import { NodejsFunction } from "aws-cdk-lib/aws-lambda-nodejs";
import type { Construct } from "constructs";

const functions = ["connect", "disconnect", "join", "send"] as const;

/** Chat with rooms: a table with the members of each room, and a function per route. */
export class ChatStack extends Stack {
  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);

    const table = new TableV2(this, "Members", {
      partitionKey: { name: "connectionId", type: AttributeType.STRING },
      globalSecondaryIndexes: [{ indexName: "rooms", partitionKey: { name: "room", type: AttributeType.STRING } }],
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const [connect, disconnect, join, send] = functions.map((name) => this.createFunction(name, table)) as
      [NodejsFunction, NodejsFunction, NodejsFunction, NodejsFunction];

    const api = new WebSocketApi(this, "Api", {
      routeSelectionExpression: "$request.body.action",
      connectRouteOptions: { integration: new WebSocketLambdaIntegration("Connect", connect) },
      disconnectRouteOptions: { integration: new WebSocketLambdaIntegration("Disconnect", disconnect) },
    });
    api.addRoute("join", { integration: new WebSocketLambdaIntegration("Join", join) });
    api.addRoute("send", { integration: new WebSocketLambdaIntegration("Send", send) });
    const stage = new WebSocketStage(this, "Stage", { webSocketApi: api, stageName: "live", autoDeploy: true });

    for (const poster of [join, send]) {
      poster.addEnvironment("CALLBACK_URL", stage.callbackUrl);
      stage.grantManagementApiAccess(poster);
    }
    new CfnOutput(this, "Url", { value: stage.url });
  }

  private createFunction(name: (typeof functions)[number], table: TableV2): NodejsFunction {
    const created = new NodejsFunction(this, `${name}Function`, {
      entry: `${__dirname}/../src/${name}.ts`,
      runtime: Runtime.NODEJS_22_X,
      timeout: Duration.seconds(10),
      environment: { TABLE_NAME: table.tableName },
    });
    table.grantReadWriteData(created);
    return created;
  }
}
