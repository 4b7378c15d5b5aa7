// Search for the handler of a function, such as `src/app.handler`.
import fs from "node:fs";
import module, { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { runtimeError } from "./errors.mjs";
import { usesCallbacks } from "./settings.mjs";

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const taskRoot = process.cwd();

/** Makes `import` find packages in the directories of NODE_PATH, as `require` does. */
export function registerNodePath() {
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
export async function loadHandler(handler) {
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

export function setGlobals() {
  if (["1", "true"].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  const refuse = () => {
    throw runtimeError("InvalidStreamingOperation", "Response streaming is not supported.");
  };
  const streamifyResponse = (handler) => Object.assign(handler, { [STREAMING]: "response" });
  globalThis.awslambda = { streamifyResponse, HttpResponseStream: { from: refuse } };
}
