"""Clients under a disturbance, and access to the processes and links of k8s/cluster."""
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from harness import CLUSTER_DIR, ROOT, ScenarioError, SkippedError, eventually, expect, load_average, objects, run, say, secret_file

CLIENTS = int(os.environ.get("CLIENTS", "100"))
PACE_MS = int(os.environ.get("PACE_MS", "1000"))
CLIENT_PROGRAM = os.environ.get("CLIENT_PROGRAM", str(ROOT / "target/debug/cluster_clients"))


class Report:
    """Results of a run; `data` is the JSON document of cluster_clients."""

    def __init__(self):
        self.data = {}

    def closed_with(self, code):
        """Number of clients whose connection was closed with this code."""
        return self.data["closes_by_code"].get(str(code), 0)

    def interruption(self, code=1012):
        """Percentiles of the interruptions after closes with this code, in milliseconds."""
        return self.data["interruptions"].get(str(code), {"count": 0, "p50_ms": 0, "p99_ms": 0, "max_ms": 0})


def require_own_cluster():
    """Skips the scenario on other clusters: clients need a route to the pods, and faults need the nodes' processes."""
    if not Path(f"{CLUSTER_DIR}/run/init.pid").exists():
        raise SkippedError("needs k8s/cluster: this machine has no route to the pods of other clusters")


def require_nodes(names, count):
    if len(names) < count:
        raise SkippedError(f"needs {count} nodes: NODES={count}")


def in_cluster(*command, check=True):
    """Runs a program in the cluster's namespaces, outside of its nodes."""
    pid = Path(f"{CLUSTER_DIR}/run/init.pid").read_text(encoding="utf-8").strip()
    return run("nsenter", "-t", pid, "-m", "-n", "-p", "--", *command, check=check)


def service_url():
    address = objects("service", "twinway")["spec"]["clusterIP"]
    return f"ws://{address}:8080/prod"


@contextmanager
def traffic(url=None, clients=CLIENTS, pace_ms=PACE_MS, idle=False, outside=False, secret=None):
    """Runs clients while the block disturbs the cluster; afterwards checks that no acknowledged message was lost or doubled.

    The clients are in the network of the first node, or `outside` of all nodes.
    """
    require_own_cluster()
    report, scratch = Report(), Path(tempfile.mkdtemp(prefix="twinway-traffic-"))
    pid = Path(f"{CLUSTER_DIR}/run/init.pid").read_text(encoding="utf-8").strip()
    enter = ["nsenter", "-t", pid, "-m", "-n", "-p", "--"] if outside else [f"{CLUSTER_DIR}/enter"]
    during = f"touch {scratch}/began; until [ -e {scratch}/ended ]; do sleep 0.1; done; [ ! -e {scratch}/aborted ]"
    try:
        with secret_file(secret) as path:
            command = [
                *enter, CLIENT_PROGRAM, "--json", "--url", url or service_url(), "--secret-file", path, "--connections", clients,
                "--pace-ms", pace_ms, "--during", during, *(["--idle"] if idle else []),
            ]
            with open(scratch / "output", "w+", encoding="utf-8") as output:
                process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT)
                try:
                    eventually("the clients", lambda: (scratch / "began").exists() or process.poll() is not None, 180)
                    yield report
                except BaseException:
                    (scratch / "aborted").touch()
                    raise
                finally:
                    (scratch / "ended").touch()
                    code = process.wait(timeout=300)
                output.seek(0)
                text = output.read()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    finish(report, code, text)


def finish(report, code, text):
    lines = text.strip().splitlines()
    documents = [line for line in lines if line.startswith("{")]
    say("\n".join(line for line in lines if not line.startswith("{")))
    say(f"load {load_average():.1f} on {os.cpu_count()} cores")
    expect(code == 0 and documents, f"the clients failed, or a message was lost or doubled: exit code {code}\n{text}")
    report.data = json.loads(documents[-1])


def container_pids(pod, program):
    """Process ids, in the cluster's namespace, of the processes of a pod that run this program."""
    uid = pod["metadata"]["uid"]
    script = f'for f in $(grep -ls {uid} /proc/[0-9]*/cgroup); do d=${{f%/cgroup}}; [ "$(cat $d/comm)" != {program} ] || echo ${{d#/proc/}}; done'
    return in_cluster("sh", "-c", script, check=False).stdout.split()


def kill_container(pod, program):
    """Sends SIGKILL to the processes of a pod that run this program."""
    pids = container_pids(pod, program)
    expect(pids, f"no process {program} in {pod['metadata']['name']}")
    in_cluster("sh", "-c", f"kill -9 {' '.join(pids)}")


def container_usage(pod):
    """CPU time in seconds and memory in bytes (without the cache that the kernel can free) of a pod."""
    uid = pod["metadata"]["uid"]
    script = f"cat $(find /sys/fs/cgroup/cpuacct /sys/fs/cgroup/cpu,cpuacct -maxdepth 6 -type d -name pod{uid} 2>/dev/null | head -1)/cpuacct.usage"
    cpu = int(in_cluster("sh", "-c", script).stdout) / 1e9
    directory = in_cluster("sh", "-c", f"find /sys/fs/cgroup/memory -maxdepth 6 -type d -name pod{uid} | head -1").stdout.strip()
    memory = int(in_cluster("cat", f"{directory}/memory.usage_in_bytes").stdout)
    for line in in_cluster("cat", f"{directory}/memory.stat").stdout.splitlines():
        if line.startswith("total_inactive_file "):
            memory -= int(line.split()[1])
    return cpu, memory


def set_link(node, state):
    """Connects a node with the network of the others, or disconnects it: `up` or `down`."""
    in_cluster("ip", "link", "set", f"n{node.removeprefix('node')}", state)


__all__ = [
    "CLIENTS", "PACE_MS", "Report", "ScenarioError", "container_pids", "container_usage", "in_cluster", "kill_container", "require_nodes", "require_own_cluster",
    "service_url", "set_link", "traffic",
]
