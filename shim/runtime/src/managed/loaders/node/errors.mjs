// Errors of this runtime, and reports of errors.
import util from "node:util";

/** Returns an error of this runtime; its name is the error type that Lambda reports. */
export function runtimeError(name, message, stack) {
  const type = { [name]: class extends Error {} }[name];
  Object.defineProperty(type.prototype, "name", { value: `Runtime.${name}` });
  const error = new type(message);
  if (stack) error.stack = stack;
  return error;
}

/** Returns the body of an error report. */
export function describeError(error) {
  const isError = util.types.isNativeError(error) || (error && ["name", "message", "stack"].every((key) => typeof error[key] === "string" && error[key]));
  try {
    return isError
      ? { errorType: error.name, errorMessage: error.message, trace: error.stack.split("\n") }
      : { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return { errorType: "handled", errorMessage: "the error of the function has no readable name, message and stack" };
  }
}
