"""Faults under clients: pods and Redis are killed, nodes are drained or lost. No acknowledged message is lost or delivered twice."""
import threading
import time

from harness import REDIS, SERVER, ensure_release, eventually, expect, is_ready, kubectl, nodes, objects, pod_names, pods, restarts, run, say, wait_until_ready
from traffic import kill_container, require_nodes, set_link, traffic


def rolling():
    """A rolling restart moves all clients."""
    ensure_release()
    with traffic() as report:
        restart_pods()
    expect(report.closed_with(1012), "no client was asked to reconnect")


def restart_pods():
    """Replaces the pods one after the other, and waits until the old ones are gone."""
    old = pod_names()
    kubectl("rollout", "restart", "deployment/twinway")
    kubectl("rollout", "status", "deployment/twinway", "--timeout", "240s")
    # The rollout is complete when old pods are still draining.
    kubectl("wait", "--for=delete", *(f"pod/{name}" for name in old), "--timeout", "120s")


def kill():
    """A server is killed with SIGKILL; its clients reconnect to another pod, its container restarts."""
    ensure_release()
    before = restarts()
    with traffic() as report:
        kill_container(pods()[0], "twinway")
        eventually("the restart", lambda: restarts() == before + 1 and all(is_ready(pod) for pod in pods()))
    expect(report.closed_with(1006), "no connection broke")


def redis_restart():
    """Redis is killed and restarts with its data; no client is disconnected."""
    ensure_release()
    restarts_of_redis = lambda: pods(REDIS)[0]["status"]["containerStatuses"][0]["restartCount"]  # noqa: E731
    before, names = restarts_of_redis(), pod_names()
    with traffic() as report:
        kill_container(pods(REDIS)[0], "redis-server")
        eventually("the restart of Redis", lambda: restarts_of_redis() == before + 1 and is_ready(pods(REDIS)[0]))
        wait_until_ready(2)
    expect(pod_names() == names, "a server was replaced")
    expect(not report.data["closes_by_code"], f"clients were disconnected: {report.data['closes_by_code']}")


def drain():
    """A node is drained: the disruption budget lets its servers go one after the other, each after a replacement is ready."""
    require_nodes(nodes(), 2)
    ensure_release()
    staying = redis_node()
    leaving = next(node for node in nodes() if node != staying)
    place_servers_on(leaving)
    try:
        with traffic() as report:
            watched = ReadyWatch()
            found = run(
                "kubectl", "drain", leaving, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "180s",
                "--pod-selector", "app.kubernetes.io/instance=twinway", check=False,
            )
            least = watched.stop()
            expect(found.returncode == 0, found.stdout + found.stderr)
            wait_until_ready(2)
    finally:
        run("kubectl", "uncordon", leaving)
    refused = (found.stdout + found.stderr).count("would violate the pod's disruption budget")
    say(f"{refused} evictions refused until a replacement was ready; at least {least} ready at all times")
    expect(refused > 0, "the disruption budget refused no eviction")
    expect(least >= 1, "no server was ready")
    expect(report.closed_with(1012), "no client was asked to reconnect")


def node_loss():
    """A node loses its network: its endpoints leave the Service, its pods are replaced after nodeLossSeconds, and it returns."""
    require_nodes(nodes(), 2)
    ensure_release()
    lost = next(node for node in nodes() if node != nodes()[0])
    move_redis_to(nodes()[0])
    spread_servers()
    with traffic() as report:
        started = time.monotonic()
        set_link(lost, "down")
        try:
            eventually("the node to be not ready", lambda: not node_is_ready(lost))
            say(f"node not ready after {time.monotonic() - started:.0f} s")
            eventually("two ready pods elsewhere", lambda: len(ready_on_other_nodes(lost)) >= 2, 180)
            say(f"replaced after {time.monotonic() - started:.0f} s")
        finally:
            set_link(lost, "up")
        eventually("the node to be ready", lambda: node_is_ready(lost))
        wait_until_ready(2)
    broken = sum(report.data["closes_by_code"].values())
    expect(broken, "no connection broke")


class ReadyWatch:
    """Counts ready servers until it is stopped."""

    def __init__(self):
        self.least, self.ended = len(pods()), threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.3):
            self.least = min(self.least, sum(is_ready(pod) for pod in objects("pods", "-l", SERVER)["items"]))

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.least


def redis_node():
    return pods(REDIS)[0]["spec"]["nodeName"]


def node_is_ready(name):
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in objects("node", name)["status"]["conditions"])


def ready_on_other_nodes(name):
    return [pod for pod in pods() if is_ready(pod) and pod["spec"]["nodeName"] != name]


def place_servers_on(node):
    """Moves all servers to one node, and lets pods be scheduled to the others afterwards."""
    others = [name for name in nodes() if name != node]
    run("kubectl", "cordon", *others)
    try:
        restart_pods()
    finally:
        run("kubectl", "uncordon", *others)
    expect({pod["spec"]["nodeName"] for pod in pods()} == {node}, f"the servers are not on {node}")


def spread_servers():
    if len({pod["spec"]["nodeName"] for pod in pods()}) < 2:
        restart_pods()
    expect(len({pod["spec"]["nodeName"] for pod in pods()}) >= 2, "the servers are on one node")


def move_redis_to(node):
    """Starts Redis on a node."""
    if redis_node() == node:
        return
    others = [name for name in nodes() if name != node]
    run("kubectl", "cordon", *others)
    try:
        kubectl("delete", "pod", "twinway-redis-0", "--wait")
        eventually("Redis", lambda: any(is_ready(pod) for pod in pods(REDIS)))
    finally:
        run("kubectl", "uncordon", *others)
    wait_until_ready(2)
