// AWS SDK for JavaScript v2 in a CommonJS module, with the endpoints that handlers build.
"use strict";
const { ApiGatewayManagementApi } = require("aws-sdk");
const run = require("./runtime.cjs");

run(async ({ body, requestContext }) => {
  const { apiId, connectionId, domainName, stage } = requestContext;
  const own = `${apiId}.execute-api.${process.env.AWS_REGION}.amazonaws.com/${stage}`;
  const endpoint = body === "domain" ? `${domainName}/${stage}` : own;
  const client = new ApiGatewayManagementApi({ apiVersion: "2018-11-29", endpoint });
  await client.postToConnection({ ConnectionId: connectionId, Data: `v2 ${endpoint}` }).promise();
});
