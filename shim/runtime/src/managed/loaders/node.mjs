// Loader of Node.js functions: loads the handler, takes events from the Runtime API and posts their results.
//
// usage: node loader.mjs HANDLER
//
// Behaves as Lambda's runtime interface client, and needs no native module. Up to Node.js 22, a handler may use callbacks
// and the functions of the context, and the response of a callback waits for an empty event loop. From Node.js 24, only the
// returned value or promise counts.
import { AsyncLocalStorage } from "node:async_hooks";
import fs from "node:fs";
import http from "node:http";
import module, { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import util from "node:util";

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");
const BEFORE_EXIT = Symbol.for("aws.lambda.beforeExit");
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

const taskRoot = process.cwd();
const concurrency = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1);
const usesCallbacks = Number(process.versions.node.split(".")[0]) < 24 && concurrency === 1;
const logsJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";
const currentRequest = new AsyncLocalStorage();
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Returns an error of this runtime; its name is the error type that Lambda reports. */
function runtimeError(name, message, stack) {
  const type = { [name]: class extends Error {} }[name];
  Object.defineProperty(type.prototype, "name", { value: `Runtime.${name}` });
  const error = new type(message);
  if (stack) error.stack = stack;
  return error;
}

// ---- Runtime API

const { request } = http;
const agent = new http.Agent({ keepAlive: true });
const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");

function callApi(method, name, headers = {}, body = undefined) {
  return new Promise((resolve, reject) => {
    const options = { agent, hostname, port, method, path: `/2018-06-01/runtime/${name}`, headers };
    const call = request(options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk)).on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }));
    });
    call.on("error", reject).end(body);
  });
}

async function post(name, text, headers = {}) {
  const body = Buffer.from(text);
  const response = await callApi("POST", name, { "Content-Type": "application/json", "Content-Length": body.length, ...headers }, body);
  if (response.status !== 202) {
    process.stderr.write(`the Runtime API rejected a result with status ${response.status}: ${response.text}\n`);
  }
}

const invocationHeaders = ({ nonce }) => (nonce ? { "Lambda-Runtime-Invocation-Id": nonce } : {});

async function postResponse(invocation, result) {
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    const message = "Unable to stringify response body";
    throw usesCallbacks ? new Error(message) : runtimeError("JSONStringifyError", message);
  }
  await post(`invocation/${invocation.id}/response`, text, invocationHeaders(invocation));
}

async function postError(name, error, headers = {}) {
  const body = describeError(error);
  // Characters that a header cannot contain.
  const type = String(body.errorType).replace(/[^\x20-\x7e]/g, "?");
  await post(name, JSON.stringify(body), { "Lambda-Runtime-Function-Error-Type": type, ...headers });
}

/** Returns the next invocation; waits without a timeout. */
async function nextInvocation() {
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

// ---- Errors and log lines

/** Returns the body of an error report. */
function describeError(error) {
  const isError = util.types.isNativeError(error) || (error && ["name", "message", "stack"].every((key) => typeof error[key] === "string" && error[key]));
  try {
    return isError
      ? { errorType: error.name, errorMessage: error.message, trace: error.stack.split("\n") }
      : { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return { errorType: "handled", errorMessage: "the error of the function has no readable name, message and stack" };
  }
}

function logError(message, reason) {
  const error = reason instanceof Error ? reason : new Error(reason);
  if (logsJson) {
    console.error(error);
    return;
  }
  const fields = (_key, value) => {
    if (!(value instanceof Error)) return value;
    const shown = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
    return typeof value.stack === "string" ? { ...shown, stack: value.stack.split("\n") } : shown;
  };
  let text;
  try {
    text = JSON.stringify(error, fields);
  } catch {
    text = JSON.stringify(describeError(error));
  }
  console.error(message, `\t${text}`);
}

const requestId = () => currentRequest.getStore() ?? globalThis[REQUEST_ID];

function jsonLine(level, values) {
  const line = { timestamp: new Date().toISOString(), level, requestId: requestId() };
  const name = (error) => error.constructor?.name ?? "UnknownError";
  const trace = (error) => (typeof error.stack === "string" ? error.stack.split("\n") : []);
  if (values.length === 1) {
    const fields = (_key, value) =>
      value instanceof Error ? { errorType: name(value), errorMessage: value.message, stackTrace: trace(value), ...value } : value;
    try {
      return JSON.stringify({ ...line, message: values[0] }, fields);
    } catch {
      return JSON.stringify({ ...line, message: util.format(values[0]) });
    }
  }
  const error = values.find((value) => value instanceof Error);
  const details = error && { errorType: name(error), errorMessage: error.message, stackTrace: trace(error) };
  return JSON.stringify({ ...line, message: util.format(...values), ...details });
}

/** Replaces the methods of the console, so that lines have time, request and level. */
function patchConsole() {
  const minimum = Math.max(LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()), 0);
  const write = (level, values) => {
    const text = () => `${new Date().toISOString()}\t${requestId()}\t${level}\t${util.format(...values)}`;
    const line = logsJson ? jsonLine(level, values) : text();
    // A carriage return keeps the lines of a message together.
    process.stdout.write(`${line.replace(/\n/g, "\r")}\n`);
  };
  LEVELS.forEach((level, index) => {
    console[level.toLowerCase()] = index >= minimum ? (...values) => write(level, values) : () => {};
  });
  console.log = console.info;
}

// ---- Handler

/** Makes `import` find packages in the directories of NODE_PATH, as `require` does. */
function registerNodePath() {
  const folders = (process.env.NODE_PATH ?? "").split(":").filter((folder) => path.basename(folder) === "node_modules" && fs.existsSync(folder));
  if (folders.length === 0) return;
  const parents = folders.map((folder) => pathToFileURL(path.join(path.dirname(folder), "parent.mjs")).href);
  const isPackage = (specifier) => !/^([./#]|[a-z]+:)/.test(specifier);
  const missing = (error) => error?.code === "ERR_MODULE_NOT_FOUND" || error?.code === "MODULE_NOT_FOUND";
  if (module.registerHooks) {
    module.registerHooks({
      resolve(specifier, context, next) {
        try {
          return next(specifier, context);
        } catch (error) {
          if (!isPackage(specifier) || !missing(error)) throw error;
          for (const parentURL of parents) {
            try {
              return next(specifier, { ...context, parentURL });
            } catch {}
          }
          throw error;
        }
      },
    });
    return;
  }
  const hook = `const parents = ${JSON.stringify(parents)};
    export async function resolve(specifier, context, next) {
      try { return await next(specifier, context); } catch (error) {
        if (/^([./#]|[a-z]+:)/.test(specifier) || error?.code !== "ERR_MODULE_NOT_FOUND") throw error;
        for (const parentURL of parents) { try { return await next(specifier, { ...context, parentURL }); } catch {} }
        throw error;
      }
    }`;
  module.register?.(`data:text/javascript,${encodeURIComponent(hook)}`);
}

/** Returns whether the closest package.json above a file makes `.js` an ES module. */
function isModulePackage(file) {
  for (let folder = path.dirname(file); path.basename(folder) !== "node_modules"; folder = path.dirname(folder)) {
    const manifest = path.join(folder, "package.json");
    if (fs.existsSync(manifest)) {
      try {
        return JSON.parse(fs.readFileSync(manifest, "utf8")).type === "module";
      } catch (error) {
        console.warn(`${manifest} cannot be read, so its files are CommonJS`, error);
        return false;
      }
    }
    if (folder === path.dirname(folder)) return false;
  }
  return false;
}

async function loadModule(folder, name) {
  const require = createRequire(import.meta.url);
  const file = path.resolve(taskRoot, folder, name);
  const has = (extension) => fs.existsSync(file + extension);
  const load = async (extension) => (await import(pathToFileURL(file + extension).href));
  if (has("") && (!fs.statSync(file).isDirectory() || !["js", "mjs", "cjs"].some((extension) => has(`.${extension}`)))) return require(file);
  if (has(".js")) return isModulePackage(`${file}.js`) ? load(".js") : require(`${file}.js`);
  if (has(".mjs")) return load(".mjs");
  if (has(".cjs")) return require(`${file}.cjs`);
  return require(require.resolve(name, { paths: [taskRoot, path.join(taskRoot, folder)] }));
}

/** Names the place of the AWS SDK, which Lambda's images contain, when a module of it is missing. */
function hintAtSdk(message) {
  const [, name] = /Cannot find (?:module|package) '(@aws-sdk\/[^/']+|@smithy\/[^/']+|aws-sdk)/.exec(message) ?? [];
  const folder = (process.env.NODE_PATH ?? "").split(":").find((entry) => entry.endsWith("/sdk/nodejs/node_modules"));
  if (!name || !folder) return;
  const command = `npm install --prefix ${path.dirname(folder)} ${name}`;
  console.warn(`Lambda provides ${name}, but this machine does not; add it to the function, or run: ${command}`);
}

function findHandler(exports, names, handler) {
  const find = (object) => names.split(".").reduce((found, name) => found && found[name], object);
  const found = find(exports) ?? find(exports?.default);
  if (!found) throw runtimeError("HandlerNotFound", `${handler} is undefined or not exported`);
  if (typeof found !== "function") throw runtimeError("HandlerNotFound", `${handler} is not a function`);
  return found;
}

/** Loads the function of a handler such as `src/app.handler`. */
async function loadHandler(handler) {
  if (handler.includes("..")) {
    throw runtimeError("MalformedHandlerName", `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(handler);
  const [, name, names] = /^([^.]*)\.(.*)$/.exec(base) ?? [];
  if (names === undefined) throw runtimeError("MalformedHandlerName", "Bad handler");
  let exports;
  try {
    exports = await loadModule(handler.slice(0, handler.lastIndexOf(base)), name);
  } catch (error) {
    hintAtSdk(String(error));
    if (error instanceof SyntaxError) throw runtimeError("UserCodeSyntaxError", String(error), error.stack);
    if (error?.code === "MODULE_NOT_FOUND") throw runtimeError("ImportModuleError", String(error));
    throw error;
  }
  const found = findHandler(exports, names, handler);
  if (found[STREAMING]) {
    throw runtimeError("UnsupportedStreamingHandler", `${handler} uses awslambda.streamifyResponse, which WebSocket APIs do not support. Return the response instead.`);
  }
  if (!usesCallbacks && found.length >= 3) {
    throw runtimeError("CallbackHandlerDeprecated", `${handler} takes a callback, which Node.js 24 and processes with several concurrent invocations do not support. Return a promise instead.`);
  }
  return found;
}

function setGlobals() {
  if (["1", "true"].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  const refuse = () => {
    throw runtimeError("InvalidStreamingOperation", "Response streaming is not supported.");
  };
  const streamifyResponse = (handler) => Object.assign(handler, { [STREAMING]: "response" });
  globalThis.awslambda = { streamifyResponse, HttpResponseStream: { from: refuse } };
}

// ---- Invocations

let failProcess = (error) => postError("init/error", error);

function exitOnUncaughtErrors() {
  const exit = (message, error, code) => {
    logError(message, error);
    failProcess(error).finally(() => process.exit(code));
  };
  process.on("uncaughtException", (error) => exit("Uncaught Exception", error, 129));
  process.on("unhandledRejection", (reason) => {
    const error = runtimeError("UnhandledPromiseRejection", String(reason));
    exit("Unhandled Promise Rejection", Object.assign(error, { reason, promise: {} }), 128);
  });
}

async function beginInvocation() {
  const invocation = await nextInvocation();
  if (concurrency === 1) {
    globalThis[REQUEST_ID] = invocation.context.awsRequestId;
    process.env._X_AMZN_TRACE_ID = invocation.trace ?? "";
    failProcess = (error) => postInvocationError(invocation, error);
  }
  return invocation;
}

const postInvocationError = (invocation, error) =>
  postError(`invocation/${invocation.id}/error`, error, invocationHeaders(invocation));

async function settle(invocation, error, result) {
  if (error === undefined || error === null) {
    try {
      return await postResponse(invocation, result);
    } catch (failure) {
      error = failure;
    }
  }
  logError("Invoke Error", error);
  await postInvocationError(invocation, error);
}

/** Handles one invocation with callbacks; the next one begins after its result. */
async function handleWithCallbacks(handler) {
  const invocation = await beginInvocation();
  const nothing = () => {};
  let [settled, waits] = [false, true];
  const finish = async (error, result) => {
    globalThis[BEFORE_EXIT] = nothing;
    await settle(invocation, error, result);
    setImmediate(() => handleWithCallbacks(handler));
  };
  const once = (action) => (...values) => {
    if (settled) return;
    settled = true;
    action(...values);
  };
  const callback = once((error, result) => {
    if ((error !== undefined && error !== null) || !waits) return void finish(error, result);
    globalThis[BEFORE_EXIT] = () => setImmediate(() => finish(null, result));
  });
  const done = once(finish);
  const controls = {
    get callbackWaitsForEmptyEventLoop() { return waits; },
    set callbackWaitsForEmptyEventLoop(value) { waits = value; },
    done,
    succeed: (result) => done(null, result),
    fail: (error) => done(error ?? "handled"),
  };
  // The event loop is empty, and no callback was called.
  globalThis[BEFORE_EXIT] = once(() => finish(null, null));
  try {
    const result = handler(JSON.parse(invocation.text), Object.assign(controls, invocation.context), callback);
    if (typeof result?.then === "function") result.then(controls.succeed, controls.fail);
  } catch (error) {
    callback(error);
  }
}

async function handleOne(handler, invocation) {
  try {
    const result = await handler(JSON.parse(invocation.text), invocation.context);
    await nextTurn();
    await postResponse(invocation, result);
  } catch (error) {
    await nextTurn();
    await settle(invocation, error ?? new Error(String(error)));
  }
}

async function handleForever(handler) {
  for (;;) {
    const invocation = await beginInvocation();
    await currentRequest.run(invocation.context.awsRequestId, () => handleOne(handler, invocation));
  }
}

async function main(handler) {
  patchConsole();
  exitOnUncaughtErrors();
  setGlobals();
  registerNodePath();
  const loaded = await loadHandler(handler);
  if (concurrency > 1) failProcess = async () => {};
  if (!usesCallbacks) return Promise.all(Array.from({ length: concurrency }, () => handleForever(loaded)));
  globalThis[BEFORE_EXIT] = () => {};
  process.on("beforeExit", () => globalThis[BEFORE_EXIT]());
  return handleWithCallbacks(loaded);
}

await main(process.argv[2]);
