"""Components of the cluster that some scenarios need: Contour with Envoy, Prometheus with prometheus-adapter."""
import re
from pathlib import Path

from harness import CLUSTER_DIR, NAMESPACE, ROOT, eventually, run, say
from traffic import require_own_cluster

MANIFESTS = ROOT / "k8s/tests/manifests"
GATEWAY_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: contour}
spec: {controllerName: projectcontour.io/gateway-controller}
"""


def build(*programs):
    """Builds programs for the cluster, unless they are there, and makes their images."""
    require_own_cluster()
    for program in programs:
        if not Path(f"{CLUSTER_DIR}/bin/{program}").exists():
            say(f"building {program}, which takes minutes the first time")
        run("k8s/cluster/program.sh", program)
        run("k8s/cluster/image.sh", f"localhost/{program}:1", f"{CLUSTER_DIR}/bin/{program}")


def install_contour():
    """Installs Contour and Envoy, which serves the Gateway of the release on ports 80 and 443 of every node."""
    build("contour", "envoy")
    run("k8s/tests/crds.sh")
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(f"{CLUSTER_DIR}/contour").glob("0*.yaml"))]
    text = "\n---\n".join(texts)
    text = re.sub(r"image: \S*/contour:\S+", "image: localhost/contour:1", text)
    text = re.sub(r"image: \S*/envoy:\S+", "image: localhost/envoy:1", text)
    text = text.replace("/bin/contour", "/contour").replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never")
    reference = f"    gateway:\n      gatewayRef: {{namespace: {NAMESPACE}, name: twinway}}\n"
    text = text.replace("  contour.yaml: |\n", f"  contour.yaml: |\n{reference}", 1)
    run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    run("kubectl", "apply", "-f", "-", stdin=GATEWAY_CLASS)
    run("kubectl", "-n", "projectcontour", "rollout", "status", "deployment/contour", "--timeout", "120s")
    run("kubectl", "-n", "projectcontour", "rollout", "status", "daemonset/envoy", "--timeout", "120s")


def install_custom_metrics():
    """Installs Prometheus and prometheus-adapter with the rules of k8s/monitoring."""
    build("prometheus", "prometheus-adapter")
    run("kubectl", "apply", "-f", MANIFESTS / "prometheus.yaml")
    rules = run("kubectl", "-n", "monitoring", "create", "configmap", "rules", f"--from-file=rules.yaml={adapter_rules()}", "--dry-run=client", "-o", "yaml").stdout
    run("kubectl", "apply", "-f", "-", stdin=rules)
    run("kubectl", "apply", "-f", MANIFESTS / "prometheus-adapter.yaml")
    for name in ("prometheus", "prometheus-adapter"):
        run("kubectl", "-n", "monitoring", "rollout", "status", f"deployment/{name}", "--timeout", "120s")
    eventually("the API of custom metrics", lambda: run("kubectl", "get", "--raw", "/apis/custom.metrics.k8s.io/v1beta1", check=False).returncode == 0)


def adapter_rules():
    """Writes the rules of the adapter, which are part of the values of its chart, to a file of their own."""
    text = (ROOT / "k8s/monitoring/prometheus-adapter.yaml").read_text(encoding="utf-8")
    lines = text[text.index("  custom:") :].splitlines()[1:]
    path = Path(f"{CLUSTER_DIR}/run/adapter-rules.yaml")
    path.write_text("rules:\n" + "\n".join(line[2:] for line in lines) + "\n", encoding="utf-8")
    return path
