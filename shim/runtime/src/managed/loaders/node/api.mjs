// Client of the Runtime API.
import { AsyncLocalStorage } from "node:async_hooks";
import { connect } from "node:net";

import { describeError, runtimeError } from "./errors.mjs";
import { usesCallbacks } from "./settings.mjs";

const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");

/** A persistent connection with one request at a time. Libraries that instrument `http` do not see its requests. */
class ApiConnection {
  #socket;
  #chunks = [];
  #waiting;
  #last = Promise.resolve();

  call(method, name, headers = {}, body = Buffer.alloc(0)) {
    const fields = { Host: `${hostname}:${port}`, "Content-Length": body.length, ...headers };
    const lines = Object.entries(fields).map(([key, value]) => `${key}: ${value}\r\n`);
    const head = `${method} /2018-06-01/runtime/${name} HTTP/1.1\r\n${lines.join("")}\r\n`;
    const response = this.#last.then(() => this.#send(Buffer.concat([Buffer.from(head, "latin1"), body])));
    this.#last = response.catch(() => {});
    return response;
  }

  #send(message) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket ??= this.#connect();
      // An idle connection keeps no event loop alive.
      this.#socket.ref().write(message);
    });
  }

  #connect() {
    const closed = (error) => {
      [this.#socket, this.#chunks] = [undefined, []];
      this.#waiting?.reject(error ?? new Error("the Runtime API closed the connection"));
    };
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    return socket.on("data", (chunk) => this.#receive(chunk)).on("error", closed).on("close", () => closed());
  }

  #receive(chunk) {
    this.#chunks.push(chunk);
    const received = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#chunks = [received];
    const end = received.indexOf("\r\n\r\n");
    if (end < 0) return;
    const [statusLine, ...lines] = received.toString("latin1", 0, end).split("\r\n");
    const split = (line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()];
    const headers = Object.fromEntries(lines.map(split));
    const length = Number(headers["content-length"] ?? 0);
    const body = received.subarray(end + 4);
    if (body.length < length) return;
    const waiting = this.#waiting;
    [this.#waiting, this.#chunks] = [undefined, []];
    this.#socket.unref();
    waiting?.resolve({ status: Number(statusLine.split(" ")[1]), headers, text: body.toString("utf8", 0, length) });
  }
}

const connections = new AsyncLocalStorage();
const firstConnection = new ApiConnection();
const callApi = (...request) => (connections.getStore() ?? firstConnection).call(...request);

/** Calls a function whose requests use a connection of their own. */
export const withOwnConnection = (action) => connections.run(new ApiConnection(), action);

async function post(name, text, headers = {}) {
  const body = Buffer.from(text);
  const response = await callApi("POST", name, { "Content-Type": "application/json", ...headers }, body);
  if (response.status !== 202) {
    process.stderr.write(`the Runtime API rejected a result with status ${response.status}: ${response.text}\n`);
  }
}

const invocationHeaders = ({ nonce }) => (nonce ? { "Lambda-Runtime-Invocation-Id": nonce } : {});

export async function postResponse(invocation, result) {
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    const message = "Unable to stringify response body";
    throw usesCallbacks ? new Error(message) : runtimeError("JSONStringifyError", message);
  }
  await post(`invocation/${invocation.id}/response`, text, invocationHeaders(invocation));
}

export async function postError(name, error, headers = {}) {
  const body = describeError(error);
  // Characters that a header cannot contain.
  const type = String(body.errorType).replace(/[^\x20-\x7e]/g, "?");
  await post(name, JSON.stringify(body), { "Lambda-Runtime-Function-Error-Type": type, ...headers });
}

/** Returns the next invocation; waits without a timeout. */
export async function nextInvocation() {
  const { status, headers, text } = await callApi("GET", "invocation/next");
  if (status !== 200) {
    throw new Error(`the Runtime API answered a request for an event with status ${status}: ${text}`);
  }
  const json = (name) => (headers[name] === undefined ? undefined : JSON.parse(headers[name]));
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const id = headers["lambda-runtime-aws-request-id"];
  const context = {
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: json("lambda-runtime-client-context"),
    identity: json("lambda-runtime-cognito-identity"),
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: id,
    tenantId: headers["lambda-runtime-aws-tenant-id"],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  return { id: encodeURIComponent(id), nonce: headers["lambda-runtime-invocation-id"], trace: headers["lambda-runtime-trace-id"], text, context };
}

export const postInvocationError = (invocation, error) =>
  postError(`invocation/${invocation.id}/error`, error, invocationHeaders(invocation));
