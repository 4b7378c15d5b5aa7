// A Lambda runtime in plain Node: calls the function for each event.
"use strict";
const http = require("node:http");
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, path }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

module.exports = async function run(handler) {
  for (;;) {
    const next = await call("GET", "/2018-06-01/runtime/invocation/next");
    const id = encodeURIComponent(next.headers["lambda-runtime-aws-request-id"]);
    let response = { statusCode: 200, body: "posted" };
    try {
      await handler(JSON.parse(next.body));
    } catch (error) {
      response = { statusCode: 200, body: `failed: ${error} ${error.cause || ""}` };
    }
    await call("POST", `/2018-06-01/runtime/invocation/${id}/response`, JSON.stringify(response));
  }
};
