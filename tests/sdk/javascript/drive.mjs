// Calls @connections with the unmodified AWS SDK for JavaScript v3, and prints the result of each step as JSON.
//
// The argument is JSON: endpoints (default, another stage, signed, rate-limited) and connection ids by role. The
// result of a
// step is "ok", or the exception's name and status, and whether the SDK raised it as the class of its service model.

import assert from "node:assert";
import * as sdk from "@aws-sdk/client-apigatewaymanagementapi";

const task = JSON.parse(process.argv[2]);
const connect = (endpoint, keys = {}) =>
  new sdk.ApiGatewayManagementApiClient({ endpoint, region: "us-east-1", maxAttempts: 1, ...keys });
const standard = connect(task.endpoint);
const otherStage = connect(task.otherStage);
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
  const response = await standard.send(new sdk.GetConnectionCommand({ ConnectionId: task.open }));
  assert(response.ConnectedAt instanceof Date && response.LastActiveAt >= response.ConnectedAt, JSON.stringify(response));
  assert.equal(response.Identity.SourceIp, "127.0.0.1");
};

const fill = async (client, role) => {
  for (let count = 0; count < 400; count += 1) {
    await post(client, role, "x".repeat(100_000));
  }
};

const drop = (role, client = standard) => client.send(new sdk.DeleteConnectionCommand({ ConnectionId: task[role] }));

const steps = {
  connecting: await outcome(() => post(standard, "connecting")),
  post: await outcome(() => post(standard, "open")),
  get: await outcome(describe),
  gone: await outcome(() => post(standard, "gone")),
  getGone: await outcome(() => standard.send(new sdk.GetConnectionCommand({ ConnectionId: task.gone }))),
  deleteGone: await outcome(() => drop("gone")),
  malformed: await outcome(() => post(standard, "malformed")),
  tooLarge: await outcome(() => post(standard, "open", "x".repeat(128 * 1024 + 1))),
  otherStage: await outcome(() => post(otherStage, "open")),
  slow: await outcome(() => fill(standard, "slow")),
  signed: await outcome(() => post(signed, "signed")),
  wrongSecret: await outcome(() => post(wrong, "signed")),
  denied: await outcome(() => drop("signed", signed)),
  limited: await outcome(() => fill(limited, "limited")),
  delete: await outcome(() => drop("open")),
};
console.log(JSON.stringify(steps));
