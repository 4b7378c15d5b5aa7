// Log lines in the formats of Lambda.
import { AsyncLocalStorage } from "node:async_hooks";
import util from "node:util";

import { describeError } from "./errors.mjs";

/** The request id of the current invocation; other libraries read it. */
export const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const logsJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";
/** The request id of an invocation in a process with several. */
export const currentRequest = new AsyncLocalStorage();

export function logError(message, reason) {
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
export function patchConsole() {
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
