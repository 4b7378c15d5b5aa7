"""Programs, objects and conditions: what all scenarios use."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = os.environ.get("NAMESPACE", "twinway-test")
CLUSTER_DIR = os.environ.get("CLUSTER_DIR", "/var/tmp/twinway-cluster")
SERVER = "app.kubernetes.io/component=server"
REDIS = "app.kubernetes.io/component=redis"
# Addresses of the nodes of k8s/cluster: clients of the tests run in the network of a node.
NODE_CIDR = "10.210.0.0/24"
# Settings of every deployment of the tests. With `always`, Redis has written a message before it is acknowledged.
BASE_VALUES = ("redis.bundle.appendfsync=always", "redis.bundle.ephemeral=false", f"networkPolicy.clientCidrs={{{NODE_CIDR}}}")


# Seconds for one program; a deployment has limits of its own.
LIMIT = 600


class ScenarioError(Exception):
    """A condition does not hold."""


class SkippedError(Exception):
    """The cluster or this machine lacks what the scenario needs."""


def expect(condition, text):
    if not condition:
        raise ScenarioError(text)


def run(*command, check=True, stdin=None, **environment):
    """Runs a program; returns its result with the output as text."""
    found = subprocess.run(
        [str(word) for word in command], input=stdin, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False, timeout=LIMIT
    )
    if check and found.returncode:
        raise ScenarioError(f"{' '.join(map(str, command))}: exit code {found.returncode}\n{found.stdout}{found.stderr}")
    return found


def kubectl(*arguments, **options):
    return run("kubectl", "-n", NAMESPACE, *arguments, **options).stdout


def objects(*arguments):
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def nodes():
    """Names of the nodes, in order."""
    return sorted(node["metadata"]["name"] for node in objects("nodes")["items"])


def eventually(what, holds, limit=120):
    """Polls, because these conditions have no watch."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.2)
    raise ScenarioError(f"waited {limit} s for {what}")


def pods(selector=SERVER):
    """Pods that are not about to end."""
    return [pod for pod in objects("pods", "-l", selector)["items"] if not pod["metadata"].get("deletionTimestamp")]


def pod_names(selector=SERVER):
    return {pod["metadata"]["name"] for pod in pods(selector)}


def is_ready(pod):
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", []))


def restarts():
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods())


def wait_until_ready(count, selector=SERVER, limit=120):
    """Waits until exactly this number of pods exist and are ready, and those about to end are gone."""

    def holds():
        found = objects("pods", "-l", selector)["items"]
        return len(found) == count and all(is_ready(pod) and not pod["metadata"].get("deletionTimestamp") for pod in found)

    eventually(f"{count} ready pods", holds, limit)


def image(component):
    return pods(f"app.kubernetes.io/component={component}")[0]["spec"]["containers"][0]["image"]


def k8s(*arguments, env="dev", **environment):
    """Runs a command of `make k8s-…`; returns its result."""
    return run(sys.executable, "-B", "k8s/scripts/k8s.py", "--env", env, "--namespace", NAMESPACE, *arguments, check=False, **environment)


def deploy_release(*values, **environment):
    """Deploys the chart with further values, `name=value`; returns the output."""
    provide_volume("data-twinway-redis-0")
    found = k8s("deploy", SET=" ".join([*BASE_VALUES, *values]), **environment)
    expect(found.returncode == 0, found.stdout + found.stderr)
    return found.stdout


def provide_volume(claim, size="1Gi"):
    """Makes a volume for a claim in k8s/cluster, which has no storage. Its nodes share the directories of this machine."""
    if not Path(f"{CLUSTER_DIR}/run/init.pid").exists():
        return
    name = f"{NAMESPACE}-{claim}"
    found = json.loads(run("kubectl", "get", "pv", name, "-o", "json", "--ignore-not-found").stdout or "null")
    if found and found["status"]["phase"] in ("Available", "Bound"):
        return
    if found:
        run("kubectl", "delete", "pv", name)
    directory = Path(f"{CLUSTER_DIR}/data/volumes/{name}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    spec = {
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": str(directory)},
        "claimRef": {"namespace": NAMESPACE, "name": claim}, "persistentVolumeReclaimPolicy": "Retain",
    }
    run("kubectl", "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}))


def ensure_release():
    """Deploys the chart, unless the plain release of the tests is there with two ready pods."""
    release = run("helm", "-n", NAMESPACE, "status", "twinway", "-o", "json", check=False)
    if release.returncode == 0 and len(pods()) == 2 and all(is_ready(pod) for pod in pods()):
        return
    deploy_release()


def secret_values(name):
    return {key: base64.b64decode(value).decode() for key, value in objects("secret", name)["data"].items()}


def write_secret(name, values):
    """Replaces the content of a Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}
    kubectl("replace", "-f", "-", stdin=json.dumps(document))


@contextmanager
def secret_file(value=None):
    """A private file with the signing secret, or with this value, for the duration of the block."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(value or secret_values("twinway-auth")["auth-secret"])
        file.flush()
        yield Path(file.name)


def load_average():
    return os.getloadavg()[0]


def say(text):
    print("    " + text.strip().replace("\n", "\n    "), flush=True)
