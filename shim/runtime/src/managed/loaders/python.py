"""Loader of Python functions: loads the handler, takes events from the Runtime API and posts their results.

usage: python loader.py HANDLER

Behaves as Lambda's runtime interface client, with the standard library only.
"""
import decimal
import importlib
import json
import logging
import math
import os
import re
import socket
import sys
import time
import traceback

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
RUNTIME_API = os.environ["AWS_LAMBDA_RUNTIME_API"]
CONCURRENCY = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1"))
LOGS_JSON = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
# Attributes of every log record; others were added by the function.
RECORD_ATTRIBUTES = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "aws_request_id"}

current_request_id = None


class RuntimeFault(Exception):
    """An error of this runtime, with the error type that Lambda reports."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind, self.message, self.trace = kind, message, trace


# ---- Runtime API


class RuntimeApi:
    """A persistent connection. The modules of `http` would hide modules of the same name in the function's code."""

    def __init__(self):
        host, port = RUNTIME_API.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def call(self, method, name, body=b"", headers=None):
        lines = ["%s /2018-06-01/runtime/%s HTTP/1.1" % (method, name), "Host: " + RUNTIME_API]
        lines += ["%s: %s" % header for header in (headers or {}).items()]
        lines += ["Content-Length: %d" % len(body), "", ""]
        self.socket.sendall("\r\n".join(lines).encode("latin-1") + body)
        return self.read_response()

    def read_response(self):
        status = self.reader.readline().split()
        if len(status) < 2:
            raise RuntimeFault("Runtime.LambdaRuntimeClientError", "the Runtime API closed the connection")
        headers = {}
        for line in iter(self.reader.readline, b"\r\n"):
            key, _separator, value = line.decode("latin-1").partition(":")
            headers[key.strip().lower()] = value.strip()
        return int(status[1]), headers, self.reader.read(int(headers.get("content-length", "0")))

    def next_event(self):
        status, headers, body = self.call("GET", "invocation/next")
        if status != 200:
            raise RuntimeFault("Runtime.LambdaRuntimeClientError", "Failed to get next invocation: status %d" % status)
        return headers, body

    def post(self, name, body, headers=None):
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        status, _headers, reply = self.call("POST", name, body, all_headers)
        if status != 202:
            text = reply.decode("utf-8", "replace")
            print("the Runtime API rejected a result with status %d: %s" % (status, text), file=sys.stderr)

    def post_error(self, name, error, headers=None):
        kind = re.sub(r"[^\x20-\x7e]", "?", error["errorType"])
        body = json.dumps(error).encode()
        self.post(name, body, {"Lambda-Runtime-Function-Error-Type": kind, **(headers or {})})


# ---- Context


class ValueObject:
    """An object with the attributes of `__slots__`."""

    __slots__ = ()

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        fields = ",".join("%s=%s" % (name, getattr(self, name)) for name in self.__slots__)
        return "%s([%s])" % (type(self).__name__, fields)


class CognitoIdentity(ValueObject):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(ValueObject):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(ValueObject):
    __slots__ = ("custom", "env", "client")


class LambdaContext:
    def __init__(self, headers):
        def parsed(header, name):
            try:
                return json.loads(headers[header]) if headers.get(header) else None
            except ValueError as error:
                message = "Unable to parse %s JSON: %s" % (name, error)
                raise RuntimeFault("Runtime.LambdaContextUnmarshalError", message) from None

        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        client = parsed("lambda-runtime-client-context", "Client Context")
        self.client_context = None if client is None else ClientContext(client)
        if client is not None and self.client_context.client is not None:
            self.client_context.client = Client(self.client_context.client)
        identity = parsed("lambda-runtime-cognito-identity", "Cognito Identity") or {}
        names = {"cognito_identity_id": "cognitoIdentityId", "cognito_identity_pool_id": "cognitoIdentityPoolId"}
        self.identity = CognitoIdentity({name: identity.get(key) for name, key in names.items()})
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        self._epoch_deadline_time_in_ms = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(self._epoch_deadline_time_in_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        names = [name for name in self.__dict__ if not name.startswith("_")]
        return "LambdaContext([%s])" % ",".join("%s=%s" % (name, getattr(self, name)) for name in names)


# ---- JSON


class ResponseEncoder:
    """Encodes the values that Lambda encodes in addition to those of `json`: decimals, bytes and named tuples."""

    def __init__(self):
        self.token = os.urandom(8).hex()
        ascii_only = sys.version_info < (3, 12)
        self.encoder = json.JSONEncoder(default=self.convert, ensure_ascii=ascii_only)
        self.placeholder = re.compile(r'"%s:([^"]*)"' % self.token)

    def convert(self, value):
        if isinstance(value, decimal.Decimal):
            # A number with the digits of the decimal, which a float may not have.
            return math.nan if value.is_nan() else "%s:%s" % (self.token, value)
        if isinstance(value, bytes):
            return value.decode("utf-8")
        raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)

    def without_tuples(self, value):
        if isinstance(value, tuple) and callable(getattr(value, "_asdict", None)):
            value = value._asdict()
        if isinstance(value, dict):
            return {key: self.without_tuples(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.without_tuples(item) for item in value]
        return value

    def encode(self, value):
        try:
            value = self.without_tuples(value)
        except RecursionError:
            raise ValueError("Circular reference detected") from None
        text = self.encoder.encode(value)
        return self.placeholder.sub(r"\1", text) if self.token in text else text


# ---- Errors and log lines


def stack_of(trace):
    """Returns the frames of a traceback without the leading ones of this file."""
    frames = [(frame.filename, frame.lineno, frame.name, frame.line) for frame in traceback.extract_tb(trace)]
    first = next((index for index, frame in enumerate(frames) if frame[0] != __file__), 0)
    return traceback.format_list(frames[first:])


def describe_error(error, request_id=""):
    if isinstance(error, RuntimeFault):
        kind, message, trace = error.kind, error.message, error.trace or []
    else:
        kind, message, trace = type(error).__name__, str(error), stack_of(error.__traceback__)
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}


def log_error(error):
    if LOGS_JSON:
        line = {"timestamp": time.strftime(TIME_FORMAT, time.gmtime()), "level": "ERROR", **error}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        return
    lines = ["[ERROR] %s%s" % (error["errorType"], ": " + error["errorMessage"] if error["errorMessage"] else "")]
    lines.append("Traceback (most recent call last):")
    for frame in error["stackTrace"]:
        # CloudWatch removes leading spaces, but no no-break spaces.
        lines.extend("\u00a0" * (len(line) - len(line.lstrip(" "))) + line.lstrip(" ") for line in frame.splitlines())
    sys.stdout.write("\r".join(lines) + "\n")


class JsonFormatter(logging.Formatter):
    def format(self, record):
        error = record.exc_info
        line = {
            "timestamp": self.formatTime(record, TIME_FORMAT),
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
            "stackTrace": traceback.format_tb(error[2]) if error else None,
            "errorType": error[0].__name__ if error else None,
            "errorMessage": str(error[1]) if error else None,
            "requestId": record.aws_request_id,
            "location": "%s:%s:%s" % (record.pathname, record.funcName, record.lineno) if error else None,
        }
        added = {key: value for key, value in record.__dict__.items() if key not in RECORD_ATTRIBUTES}
        line.update((key, value) for key, value in added.items() if key not in line)
        return json.dumps({key: line[key] for key in line if line[key] is not None}, ensure_ascii=False, default=str) + "\n"


class LambdaLogHandler(logging.Handler):
    def emit(self, record):
        record.aws_request_id = current_request_id or ""
        sys.stdout.write(self.format(record))


def set_up_logging():
    text = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
    handler = LambdaLogHandler()
    handler.setFormatter(JsonFormatter() if LOGS_JSON else logging.Formatter(text, "%Y-%m-%dT%H:%M:%S"))
    logging.Formatter.converter = time.gmtime
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG").replace("FATAL", "CRITICAL")
    if isinstance(logging.getLevelName(level), int):
        logging.getLogger().setLevel(level)
    logging.getLogger().addHandler(handler)


# ---- Handler


def hint_at_sdk(error):
    """Names the place of the AWS SDK, which Lambda's images contain, when it is missing."""
    folder = next((path for path in sys.path if path.endswith("/sdk/python")), None)
    if error.name in ("boto3", "botocore") and folder:
        command = "pip install --target %s %s" % (folder, error.name)
        text = "Lambda provides %s, but this machine does not; add it to the function, or run: %s"
        logging.warning(text, error.name, command)


def load_handler(handler):
    module_name, separator, name = handler.rpartition(".")
    if not separator:
        message = "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler
        raise RuntimeFault("Runtime.MalformedHandlerName", message)
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module %s as a handler module" % module_name
        raise RuntimeFault("Runtime.BuiltInModuleConflict", message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        hint_at_sdk(error)
        message = "Unable to import module '%s': %s" % (module_name, error)
        raise RuntimeFault("Runtime.ImportModuleError", message) from error
    except SyntaxError as error:
        message = "Syntax error in module '%s': %s" % (module_name, error)
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise RuntimeFault("Runtime.UserCodeSyntaxError", message, trace) from error
    try:
        return getattr(module, name)
    except AttributeError:
        message = "Handler '%s' missing on module '%s'" % (name, module_name)
        raise RuntimeFault("Runtime.HandlerNotFound", message) from None


def prepare_paths():
    # The task root takes the place of this file's directory.
    sys.path[0] = os.getcwd()
    # Keeps caches of compiled modules out of the function's sources.
    if sys.version_info >= (3, 8):
        sys.pycache_prefix = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pycache")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)


# ---- Invocations


def decoded_event(headers, body):
    if headers.get("content-type") != "application/json":
        return body
    try:
        return json.loads(body)
    except ValueError as error:
        raise RuntimeFault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error) from None


def encoded_response(encoder, response):
    if isinstance(response, bytes):
        return response, "application/unknown"
    try:
        return encoder.encode(response).encode("utf-8", "surrogatepass"), "application/json"
    except Exception as error:
        raise RuntimeFault("Runtime.MarshalError", "Unable to marshal response: %s" % error) from None


def handle_next(api, handler, encoder):
    global current_request_id
    headers, body = api.next_event()
    current_request_id = headers["lambda-runtime-aws-request-id"]
    if headers.get("lambda-runtime-trace-id"):
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id")
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    nonce = headers.get("lambda-runtime-invocation-id")
    own_headers = {"Lambda-Runtime-Invocation-Id": nonce} if nonce else {}
    name = "invocation/%s/" % current_request_id
    try:
        context = LambdaContext(headers)
        response, kind = encoded_response(encoder, handler(decoded_event(headers, body), context))
    except Exception as error:
        described = describe_error(error, current_request_id)
        log_error(described)
        api.post_error(name + "error", described, own_headers)
        return
    api.post(name + "response", response, {**own_headers, "Content-Type": kind})


def serve(handler_name):
    api = RuntimeApi()
    try:
        handler = load_handler(handler_name)
    except Exception as error:
        described = describe_error(error)
        log_error(described)
        api.post_error("init/error", described)
        sys.exit(1)
    encoder = ResponseEncoder()
    while True:
        handle_next(api, handler, encoder)


def serve_concurrently(handler_name):
    """Runs one child per concurrent invocation; ends with the first one that exits."""
    for _ in range(CONCURRENCY):
        if os.fork() == 0:
            serve(handler_name)
    _pid, status = os.wait()
    sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


if __name__ == "__main__":
    prepare_paths()
    set_up_logging()
    if CONCURRENCY > 1:
        serve_concurrently(sys.argv[1])
    else:
        serve(sys.argv[1])
