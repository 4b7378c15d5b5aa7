"""Targets per pod: latency, CPU and memory with 1,000 clients, time to start, time of interruption in a rolling update."""
import json
import os
import subprocess
import time
from contextlib import contextmanager

from fault_scenarios import restart_pods
from harness import NAMESPACE, ScenarioError, deploy_release, ensure_release, expect, is_ready, kubectl, load_average, pods, say, wait_until_ready
from traffic import container_usage, require_own_cluster, traffic

CLIENTS = 1_000
PACE_MS = 5_000
CORES = os.cpu_count()
# Of the measurement, after all clients are connected.
WINDOW_SECONDS = 30


def rolling_thousand():
    """A rolling restart under 1,000 clients: the 99th percentile of the interruptions is below 1 s, below 2 s on a busy machine."""
    ensure_release()
    with traffic(clients=CLIENTS, pace_ms=PACE_MS) as report:
        load = load_average()
        restart_pods()
    load = max(load, load_average())
    limit = 1_000 if load < CORES else 2_000
    interruption = report.interruption()
    say(f"p99 of {interruption['count']} interruptions: {interruption['p99_ms']} ms, limit {limit} ms at load {load:.1f} on {CORES} cores")
    expect(interruption["count"] >= CLIENTS, "not all clients were asked to reconnect")
    expect(interruption["p99_ms"] < limit, "the interruptions are too long")


def targets():
    """1,000 clients that send every 5 s to one pod: connect < 2 s, delivery < 500 ms, CPU < 200m, memory < 256Mi."""
    with one_pod() as pod, traffic(clients=CLIENTS, pace_ms=PACE_MS) as report:
        cpu_before, _ = container_usage(pod)
        started = time.monotonic()
        time.sleep(WINDOW_SECONDS)  # The length of the measured window.
        cpu_after, memory = container_usage(pod)
        milli = 1_000 * (cpu_after - cpu_before) / (time.monotonic() - started)
    connect, delivery = (report.data["latencies"][name]["p99"] / 1_000 for name in ("connect", "delivery"))
    say(f"one pod: connect p99 {connect:.0f} ms, delivery p99 {delivery:.0f} ms, CPU {milli:.0f}m, memory {memory / 2**20:.0f} MiB, load {load_average():.1f}")
    expect(connect < 2_000 and delivery < 500, "too slow")
    expect(milli < 200 and memory < 256 * 2**20, "too much CPU or memory")


def idle():
    """1,000 idle clients of one pod: below 64 MiB."""
    with one_pod() as pod, traffic(clients=CLIENTS, idle=True):
        _, memory = container_usage(pod)
    say(f"one pod with {CLIENTS} idle clients: {memory / 2**20:.1f} MiB")
    expect(memory < 64 * 2**20, "too much memory")


def start():
    """A container is ready within 2 s of its start, when its image is on the node."""
    ensure_release()
    say(f"with network policies: ready after {start_times()} s; the policies of a new pod take effect after a second or two here")
    deploy_release("networkPolicy.enabled=false")
    times = start_times()
    say(f"without: ready after {times} s, load {load_average():.1f}")
    deploy_release()
    expect(sorted(times)[1] < 2, "too slow")


def start_times():
    """Replaces three pods; returns the seconds from the reported start of each new container until it is ready."""
    return [replace_pod() for _ in range(3)]


def replace_pod():
    wait_until_ready(2)
    watch = subprocess.Popen(["kubectl", "-n", NAMESPACE, "get", "pods", "-w", "-o", "json", "--output-watch-events"], stdout=subprocess.PIPE, text=True)
    try:
        kubectl("delete", "pod", pods()[0]["metadata"]["name"], "--wait=false")
        took = seconds_from_running_to_ready(watch.stdout)
    finally:
        watch.kill()
        watch.wait()
    wait_until_ready(2)
    return round(took, 1)


def seconds_from_running_to_ready(stream):
    """Reads watch events until a server that did not run before is ready."""
    running, decoder, text = {}, json.JSONDecoder(), ""
    for line in stream:
        text += line
        while text.strip():
            try:
                event, end = decoder.raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            pod = event["object"]
            name, statuses = pod["metadata"]["name"], pod["status"].get("containerStatuses", [])
            if statuses and "running" in statuses[0]["state"] and not statuses[0]["ready"]:
                running.setdefault(name, time.monotonic())
            if name in running and is_ready(pod):
                return time.monotonic() - running[name]
    raise ScenarioError("the watch of the pods ended")


@contextmanager
def one_pod():
    """Scales the servers to one new pod for the duration of the block."""
    require_own_cluster()
    ensure_release()
    kubectl("scale", "deployment/twinway", "--replicas=1")
    try:
        wait_until_ready(1)
        restart_pods()
        yield pods()[0]
    finally:
        kubectl("scale", "deployment/twinway", "--replicas=2")
        wait_until_ready(2)
