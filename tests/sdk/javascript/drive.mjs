// Drives @connections with the AWS SDK for JavaScript v3 as it is, and prints what came of each step as JSON.
//
// The one argument is JSON: the endpoint, others with another stage, with signatures, with a rate, and connection ids by role. A step's outcome is
// "ok", or the exception's name and status, and whether the SDK raised it as the class that its service model names.

import assert from "node:assert";
import * as sdk from "@aws-sdk/client-apigatewaymanagementapi";

const task = JSON.parse(process.argv[2]);
const connect = (endpoint, keys = {}) =>
  new sdk.ApiGatewayManagementApiClient({ endpoint, region: "us-east-1", maxAttempts: 1, ...keys });
const here = connect(task.endpoint);
const elsewhere = connect(task.otherStage);
const signed = connect(task.signedEndpoint);
const limited = connect(task.limitedEndpoint);
const wrong = connect(task.signedEndpoint, {
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "another" },
});

const post = (client, role, data = "from JavaScript") =>
  client.send(new sdk.PostToConnectionCommand({ ConnectionId: task[role], Data: data }));

const outcome = async (call) => {
  try {
    await call();
    return "ok";
  } catch (error) {
    const model = sdk[error.name];
    const typed = model !== undefined && error instanceof model;
    return { code: error.name, status: error.$metadata?.httpStatusCode ?? String(error), typed };
  }
};

const describe = async () => {
  const answer = await here.send(new sdk.GetConnectionCommand({ ConnectionId: task.open }));
  assert(answer.ConnectedAt instanceof Date && answer.LastActiveAt >= answer.ConnectedAt, JSON.stringify(answer));
  assert.equal(answer.Identity.SourceIp, "127.0.0.1");
};

const fill = async (client, role) => {
  for (let count = 0; count < 400; count += 1) {
    await post(client, role, "x".repeat(100_000));
  }
};

const drop = (role, client = here) => client.send(new sdk.DeleteConnectionCommand({ ConnectionId: task[role] }));

const steps = {
  connecting: await outcome(() => post(here, "connecting")),
  post: await outcome(() => post(here, "open")),
  get: await outcome(describe),
  gone: await outcome(() => post(here, "gone")),
  getGone: await outcome(() => here.send(new sdk.GetConnectionCommand({ ConnectionId: task.gone }))),
  deleteGone: await outcome(() => drop("gone")),
  malformed: await outcome(() => post(here, "malformed")),
  tooLarge: await outcome(() => post(here, "open", "x".repeat(128 * 1024 + 1))),
  otherStage: await outcome(() => post(elsewhere, "open")),
  slow: await outcome(() => fill(here, "slow")),
  signed: await outcome(() => post(signed, "signed")),
  wrongSecret: await outcome(() => post(wrong, "signed")),
  denied: await outcome(() => drop("signed", signed)),
  limited: await outcome(() => fill(limited, "limited")),
  delete: await outcome(() => drop("open")),
};
console.log(JSON.stringify(steps));
