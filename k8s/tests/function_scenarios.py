"""Lambda functions in pods: images, posts between pods, and the `$disconnect`s of a killed pod."""
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from application_image import FUNCTION, application_image, copying_image, function_in_servers_image
from harness import CLUSTER_DIR, ROOT, deploy_release, ensure_release, eventually, expect, image, is_ready, kubectl, objects, pods, restarts, run, say, wait_until_ready
from traffic import kill_container, require_own_cluster

# A namespace of Redis belongs to one API; that of the other scenarios is the messaging application's.
VALUES = ("functions.enabled=true", "settings.TWINWAY_REDIS_PREFIX=functions", "resources.limits.memory=1Gi")
ECHO = ("functions.settings.TWINWAY_FUNCTIONS_MESSAGE_RESPONSE=two-way",)
COPY = "functions.copyCommand={/install,-D,/bootstrap,/functions/message/bootstrap}"
CLIENTS_PER_POD = 10


def functions():
    """The sample function of examples/echo-rust answers, in the server's image and from an image of its own."""
    require_own_cluster()
    if not Path(FUNCTION).exists():
        run(os.environ.get("CARGO", "cargo"), "build", "--locked", "-p", "tests", "--bin", "example_echo_rust")
    ensure_release()
    name, tag = image("server").rsplit(":", 1)
    with tempfile.TemporaryDirectory() as scratch:
        function_in_servers_image(scratch, f"{name}:{tag}-functions")
        deploy_release(*VALUES, *ECHO, IMAGE_TAG=f"{tag}-functions")
        check_echo("in the server's image")
        copying_image(scratch, "localhost/functions:1")
        deploy_release(*VALUES, *ECHO, "functions.image=localhost/functions:1", COPY, IMAGE_TAG=tag)
        check_echo("from an image of their own")
    expect("auth-secret" not in json.dumps(objects("deployment", "twinway")["spec"]), "functions receive the signing secret")
    deploy_release(IMAGE_TAG=tag)
    wait_until_ready(2)


def function_pods():
    """Python and Node.js functions post to connections of other pods; each connection of a killed pod has one $disconnect."""
    require_own_cluster()
    ensure_release()
    name, tag = image("server").rsplit(":", 1)
    with tempfile.TemporaryDirectory() as scratch:
        application_image(scratch, f"{name}:{tag}-application")
    deploy_release(*VALUES, "functions.template=/application", IMAGE_TAG=f"{tag}-application")
    wait_until_ready(2)
    killed, _ = servers = pods()
    before = restarts()
    with clients(servers) as session:
        ids = json.loads(session.read())
        say(f"{CLIENTS_PER_POD} connections of each pod reached by posts of Python and Node.js on the other")
        expect(not disconnects(), "a $disconnect of an open connection")
        kill_container(killed, "twinway")
        eventually("the $disconnects of the killed pod", lambda: set(ids[0]) <= set(disconnects()))
        eventually("the restart", lambda: restarts() == before + 1 and all(is_ready(pod) for pod in pods()))
        expect(session.ask("continue") == "checked", "the clients failed")
        session.tell("close")
        eventually("the $disconnects of the other pod", lambda: set(ids[1]) <= set(disconnects()))
    found = disconnects()
    expect(found == Counter(ids[0] + ids[1]), f"not exactly one $disconnect per connection: {found}")
    say(f"exactly one $disconnect for each of {len(found)} connections, {CLIENTS_PER_POD} of them of a killed pod")
    deploy_release(IMAGE_TAG=tag)
    wait_until_ready(2)


def check_echo(where):
    wait_until_ready(2)
    address = objects("service", "twinway")["spec"]["clusterIP"]
    found = run(f"{CLUSTER_DIR}/enter", sys.executable, "-B", ROOT / "k8s/tests/echo.py", f"{address}:8080", "/prod", "hello")
    expect("sent: hello" in found.stdout, found.stdout)
    log = kubectl("logs", "-l", "app.kubernetes.io/component=server", "--tail", "200")
    expect("panicked" not in log, log)
    say(f"functions {where}: {found.stdout.strip()}")


def disconnects():
    """Number of `$disconnect`s by connection id, in the logs of all servers since their pods started."""
    logs = []
    for pod in pods():
        name = pod["metadata"]["name"]
        logs.append(kubectl("logs", name))
        if pod["status"]["containerStatuses"][0]["restartCount"]:
            logs.append(kubectl("logs", name, "--previous"))
    return Counter(re.findall(r"disconnected (\S+) \d", "".join(logs)))


class ClientSession:
    """The process of function_clients.py, controlled by lines."""

    def __init__(self, process):
        self.process = process

    def read(self):
        return self.process.stdout.readline().strip()

    def tell(self, text):
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def ask(self, text):
        self.tell(text)
        return self.read()


@contextmanager
def clients(servers):
    """Runs clients of the pods in the network of a node. Their error output is that of this program."""
    addresses = [f"{pod['status']['podIP']}:8080" for pod in servers]
    command = [f"{CLUSTER_DIR}/enter", sys.executable, "-B", ROOT / "k8s/tests/function_clients.py", CLIENTS_PER_POD, *addresses]
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield ClientSession(process)
        expect(process.wait(timeout=60) == 0, "the clients failed")
    finally:
        process.kill()
        process.wait()
