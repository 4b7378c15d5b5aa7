// Preloaded into Node functions: connections to the API's own names go to the endpoint proxy of the server that runs the
// function. All other connections are unchanged. The names, the proxy and its authority are in environment variables.
"use strict";
(() => {
  const { TWINWAY_ENDPOINT_PROXY: proxy, TWINWAY_ENDPOINT_HOSTS: names, TWINWAY_ENDPOINT_CA: file } = process.env;
  if (!proxy || !names || !file) return;
  // Libraries that use the variable differ in how; here it is not needed.
  for (const name of ["HTTPS_PROXY", "https_proxy"]) {
    if (process.env[name] === proxy) delete process.env[name];
  }
  const tls = require("tls");
  const { hostname, port, password } = new URL(proxy);
  const hosts = new Set(names.split(","));
  const connect = tls.connect;
  let authority;

  // tls.connect(options[, callback]) and tls.connect(port[, host][, options][, callback]).
  function mergedOptions(args) {
    const options = args.find((argument) => typeof argument === "object" && argument !== null);
    if (args[0] === options && options !== undefined) return options;
    const host = typeof args[1] === "string" ? { host: args[1] } : {};
    return { port: args[0], ...host, ...options };
  }

  function isApi({ host, port: target, socket }) {
    return !socket && Number(target) === 443 && typeof host === "string" && hosts.has(apiName(host));
  }

  function apiName(host) {
    return host.toLowerCase().replace(/\.$/, "");
  }

  function redirected(options) {
    authority = authority || require("fs").readFileSync(file, "utf8");
    const protocols = Array.isArray(options.ALPNProtocols) ? options.ALPNProtocols : ["http/1.1"];
    return {
      ...options,
      host: hostname,
      port: Number(port),
      servername: options.servername || apiName(options.host),
      ALPNProtocols: [...protocols, `twinway-${password}`],
      ca: [].concat(options.ca || [], authority),
    };
  }

  tls.connect = function (...args) {
    const options = mergedOptions(args);
    if (!isApi(options)) return connect.apply(this, args);
    const callback = args[args.length - 1];
    return connect.call(this, redirected(options), typeof callback === "function" ? callback : undefined);
  };
  // Named imports of ES modules are copies.
  require("module").syncBuiltinESMExports();
})();
