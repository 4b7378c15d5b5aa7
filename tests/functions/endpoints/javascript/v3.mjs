// AWS SDK for JavaScript v3 in an ES module, with the endpoints that handlers build; and other HTTP clients.
import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { connect } from "node:tls";
import WebSocket from "ws";
import run from "./runtime.cjs";

async function post(endpoint, ConnectionId) {
  const client = new ApiGatewayManagementApiClient({ endpoint });
  await client.send(new PostToConnectionCommand({ ConnectionId, Data: `v3 ${endpoint}` }));
}

// Waits for the server's certificate of a host.
function subject(host) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: 443, servername: host }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.end();
    });
    socket.on("error", reject);
  });
}

function openSocket(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.on("error", reject);
    socket.on("open", () => resolve(socket.close()));
  });
}

run(async ({ body, requestContext }) => {
  const { apiId, connectionId, domainName, stage } = requestContext;
  if (body === "domain") return post(`https://${domainName}/${stage}`, connectionId);
  if (body === "id") {
    return post(`https://${apiId}.execute-api.${process.env.AWS_REGION}.amazonaws.com/${stage}`, connectionId);
  }
  const endpoint = `https://${domainName}/${stage}`;
  if (body === "clients") {
    const unsigned = await fetch(`${endpoint}/@connections/${connectionId}`, { method: "POST", body: "x" });
    await openSocket(endpoint.replace("https", "wss"));
    const facts = [unsigned.status, await subject(domainName), process.env.HTTPS_PROXY];
    const client = new ApiGatewayManagementApiClient({ endpoint });
    return client.send(new PostToConnectionCommand({ ConnectionId: connectionId, Data: facts.join(" ") }));
  }
  const other = await fetch(body);
  return Promise.reject(`${other.status} ${await other.text()}`);
});
