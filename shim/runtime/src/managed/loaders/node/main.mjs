// Loader of Node.js functions: loads the handler, takes events from the Runtime API and posts their results.
//
// usage: node main.mjs HANDLER
//
// Behaves as Lambda's runtime interface client, and needs no native module. Up to Node.js 22, a handler may use callbacks
// and the functions of the context, and the response of a callback waits for an empty event loop. From Node.js 24, only the
// returned value or promise counts.
import { nextInvocation, postError, postInvocationError, postResponse, withOwnConnection } from "./api.mjs";
import { REQUEST_ID, currentRequest, logError, patchConsole } from "./console.mjs";
import { runtimeError } from "./errors.mjs";
import { loadHandler, registerNodePath, setGlobals } from "./handler.mjs";
import { concurrency, usesCallbacks } from "./settings.mjs";

const BEFORE_EXIT = Symbol.for("aws.lambda.beforeExit");
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

let failProcess = (error) => postError("init/error", error);

function exitOnUncaughtErrors() {
  const exit = (message, error, code) => {
    logError(message, error);
    // The other connection may wait for an event.
    withOwnConnection(() => failProcess(error)).finally(() => process.exit(code));
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

/** Posts the result of an invocation. A later error ends the process, but does not change the result. */
function settle(invocation, error, result) {
  const posted = postResult(invocation, error, result);
  if (concurrency === 1) failProcess = () => posted;
  return posted;
}

async function postResult(invocation, error, result) {
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
    await settle(invocation, null, result);
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
  if (!usesCallbacks) {
    const serve = () => withOwnConnection(() => handleForever(loaded));
    return Promise.all(Array.from({ length: concurrency }, serve));
  }
  globalThis[BEFORE_EXIT] = () => {};
  process.on("beforeExit", () => globalThis[BEFORE_EXIT]());
  return handleWithCallbacks(loaded);
}

await main(process.argv[2]);
