"""Autoscaling by open connections, with Prometheus and prometheus-adapter."""
import time

from components import install_custom_metrics
from harness import deploy_release, eventually, expect, is_ready, kubectl, objects, pods, say, wait_until_ready
from traffic import require_own_cluster, traffic

PER_POD = 20
VALUES = (
    "autoscaling.kind=hpa", "autoscaling.minReplicas=2", "autoscaling.maxReplicas=6", f"autoscaling.connectionsPerPod={PER_POD}",
    "autoscaling.scaleDownWindowSeconds=15", "networkPolicy.monitoringNamespace=monitoring",
)


def scaling():
    """Connections scale the servers from 2 to 6 pods within 60 s, and back to 2; the removed pods move their clients."""
    require_own_cluster()
    install_custom_metrics()
    deploy_release(*VALUES)
    wait_until_ready(2)
    eventually("the metric", lambda: any("pods" in metric for metric in objects("hpa", "twinway").get("status", {}).get("currentMetrics") or []))
    with traffic(clients=6 * PER_POD):
        started = time.monotonic()
        eventually("six ready pods", lambda: sum(is_ready(pod) for pod in pods()) == 6, 180)
        took = time.monotonic() - started
        say(f"6 pods {took:.0f} s after the clients had connected")
    expect(took < 60, "scaling up took too long")
    # Clients of pods that are removed move to the others. One pod is removed per minute.
    with traffic(clients=PER_POD + PER_POD // 2) as report:
        started = time.monotonic()
        eventually("two pods", lambda: len(pods()) == 2, 600)
        wait_until_ready(2)
        say(f"back to 2 pods after {time.monotonic() - started:.0f} s")
    expect(report.closed_with(1012), "no client was asked to reconnect")
    deploy_release()
    kubectl("scale", "deployment/twinway", "--replicas=2")
    wait_until_ready(2)
