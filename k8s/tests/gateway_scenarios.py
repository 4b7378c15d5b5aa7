"""Clients outside of the cluster, through the Gateway API (Contour and Envoy)."""
import tempfile
from pathlib import Path

from components import install_contour
from fault_scenarios import restart_pods
from harness import NAMESPACE, deploy_release, eventually, expect, kubectl, objects, run, say, wait_until_ready
from traffic import in_cluster, require_own_cluster, traffic

# Ports 80 and 443 of a node, which Envoy serves.
EDGE = "10.210.0.11"
VALUES = (
    "gateway.enabled=true", "gateway.create=true", "gateway.className=contour", "networkPolicy.gatewayNamespaces={projectcontour}", "frontend.enabled=true",
    "settings.TWINWAY_TRUSTED_PROXIES=1",
)


def gateway():
    """Clients outside connect through the Gateway during a rolling restart; paths, redirect to HTTPS and TLS work."""
    require_own_cluster()
    install_contour()
    deploy_release(*VALUES)
    eventually("the route", lambda: is_accepted("httproute", "twinway"))
    eventually("the way to the servers", lambda: status(f"http://{EDGE}/v1/none") == "404" or status(f"http://{EDGE}/v1/none") == "401")
    with traffic(url=f"ws://{EDGE}:80/prod", outside=True) as report:
        restart_pods()
    expect(report.closed_with(1012), "no client was asked to reconnect")
    for path, wanted in (("/user/", "200"), ("/admin/", "200"), ("/healthz", "404"), ("/metrics", "404")):
        found = status(f"http://{EDGE}{path}")
        say(f"{path}: {found}")
        expect(found == wanted, f"{path} is answered with {found} instead of {wanted}")
    with_tls()
    deploy_release()
    wait_until_ready(2)


def with_tls():
    make_certificate()
    deploy_release(*VALUES, "gateway.hostname=chat.example.com", "gateway.tlsSecretName=twinway-tls")
    host = ["--resolve", f"chat.example.com:443:{EDGE}", "--resolve", f"chat.example.com:80:{EDGE}", "--insecure"]
    eventually("TLS", lambda: status("https://chat.example.com/user/", *host) == "200")
    expect(status("http://chat.example.com/user/", *host) == "301", "HTTP is not redirected to HTTPS")
    token = kubectl("exec", "deployment/twinway", "--", "/twinway", "token", "--user", "alice").strip()
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    found = status(f"https://chat.example.com/prod?token={token}", *host, "--http1.1", *upgrade)
    expect(found == "101", f"a WebSocket over TLS is answered with {found}")
    say("redirect 301, WebSocket over TLS 101")


def make_certificate():
    with tempfile.TemporaryDirectory() as scratch:
        key, certificate = Path(scratch) / "key", Path(scratch) / "crt"
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate,
            "-subj", "/CN=chat.example.com", "-addext", "subjectAltName=DNS:chat.example.com", "-days", "2",
        )
        text = run("kubectl", "-n", NAMESPACE, "create", "secret", "tls", "twinway-tls", "--cert", certificate, "--key", key, "--dry-run=client", "-o", "yaml").stdout
    run("kubectl", "apply", "-f", "-", stdin=text)


def status(url, *options):
    """HTTP status of a request from outside of the nodes; 000 without a response."""
    return in_cluster("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", *options, url, check=False).stdout.strip()


def is_accepted(kind, name):
    parents = objects(kind, name).get("status", {}).get("parents", [])
    return any(condition["type"] == "Accepted" and condition["status"] == "True" for parent in parents for condition in parent["conditions"])
