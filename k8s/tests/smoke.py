#!/usr/bin/env python3
"""Tests of the chart on a running cluster. usage: smoke.py [--keep] [TEST ...]

  deploy       deploys the chart; every pod is ready and `helm test` logs in, sends and resumes
  admission    the namespace rejects a pod without the restricted security context; nothing runs as root
  secrets      no secret is in a ConfigMap, a manifest or an environment
  policies     allowed pairs connect, denied pairs do not
  order        pods that start before Redis wait, say why, and become ready after it, without a restart
  rolling      a rolling restart under clients loses no acknowledged message and delivers none twice
  rollback     a deployment that does not start is rolled back by itself
  validation   wrong values are rejected with the reason

--keep leaves the namespace. Clients need a route to the pods, which only k8s/cluster has; elsewhere `rolling` is skipped.
"""
import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = os.environ.get("NAMESPACE", "twinway-test")
CLUSTER_DIR = os.environ.get("CLUSTER_DIR", "/var/tmp/twinway-cluster")
CLIENTS = int(os.environ.get("CLIENTS", "100"))
PACE_MS = int(os.environ.get("PACE_MS", "1000"))
CLIENT_PROGRAM = os.environ.get("CLIENT_PROGRAM", str(ROOT / "target/debug/cluster_clients"))
SERVER = "app.kubernetes.io/component=server"


class SmokeTestError(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise SmokeTestError(text)


def run(*command, check=True, stdin=None, **environment):
    found = subprocess.run(
        [str(word) for word in command], input=stdin, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )
    if check and found.returncode:
        raise SmokeTestError(f"{' '.join(map(str, command))}: exit code {found.returncode}\n{found.stdout}{found.stderr}")
    return found


def kubectl(*arguments, **options):
    return run("kubectl", "-n", NAMESPACE, *arguments, **options).stdout


def objects(*arguments):
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def eventually(what, holds, limit=120):
    """Polls, because these conditions have no watch."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.2)
    raise SmokeTestError(f"waited {limit} s for {what}")


def pods(selector=SERVER):
    return [pod for pod in objects("pods", "-l", selector)["items"] if not pod["metadata"].get("deletionTimestamp")]


def is_ready(pod):
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", []))


def image(component):
    return pods(f"app.kubernetes.io/component={component}")[0]["spec"]["containers"][0]["image"]


def k8s(*arguments, **environment):
    return run(sys.executable, "-B", "k8s/scripts/k8s.py", "--env", "dev", "--namespace", NAMESPACE, *arguments, check=False, **environment)


def deploy():
    found = k8s("deploy")
    expect(found.returncode == 0, found.stdout + found.stderr)
    expect("resumed" in found.stdout and "verified" in found.stdout, found.stdout)
    deployment = objects("deployment", "twinway")
    expect("twinway.dev/deployed-image" in deployment["metadata"]["annotations"], "the deployment is not recorded")
    events = objects("events", "--field-selector", "reason=Deployed")["items"]
    expect(events, "there is no Event of the deployment")
    for pod in pods():
        times = {condition["type"]: condition["lastTransitionTime"] for condition in pod["status"]["conditions"]}
        print(f"    {pod['metadata']['name']}: scheduled {times['PodScheduled']}, ready {times['Ready']}")


def admission():
    found = run("kubectl", "-n", NAMESPACE, "run", "plain", "--image", image("server"), check=False)
    expect(found.returncode and "violates PodSecurity" in found.stderr, f"a plain pod was admitted: {found.stderr}")
    for pod in pods("app.kubernetes.io/instance=twinway"):
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            expect(context["readOnlyRootFilesystem"] and context["runAsNonRoot"], f"{pod['metadata']['name']}: {context}")
            expect(context["capabilities"] == {"drop": ["ALL"]}, f"{context}")
    if Path(f"{CLUSTER_DIR}/enter").exists():
        # The processes themselves, as the kernel sees them.
        found = run(f"{CLUSTER_DIR}/enter", "sh", "-c", "grep -sh ^Uid: $(grep -lsx twinway /proc/[0-9]*/comm | sed s/comm/status/)")
        uids = {line.split()[1] for line in found.stdout.splitlines()}
        expect(uids == {"65532"}, f"user ids of the servers: {uids}")


def secrets():
    values = []
    for name in ("twinway-auth", "twinway-redis"):
        values += [base64.b64decode(value).decode().strip() for value in objects("secret", name)["data"].values()]
    text = "".join(json.dumps(objects(kind)) for kind in ("configmaps", "pods", "deployments", "statefulsets", "events"))
    expect(not any(value in text for value in values), "a secret is in a manifest or an environment")
    expect("secretKeyRef" not in text, "a secret is an environment variable")


def start_prober(name, labels, namespace=NAMESPACE):
    """Starts a pod that does nothing for the test but to run the programs of the server's image."""
    environment = {"DEPLOYMENT_MODE": "embedded", "TWINWAY_STORAGE_LOG": "memory", "TWINWAY_AUTH_SECRET_FILE": "/auth/auth-secret"}
    container = {
        "name": "prober", "image": image("server"), "imagePullPolicy": "IfNotPresent", "args": ["serve"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": [{"name": "auth", "mountPath": "/auth", "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "automountServiceAccountToken": False, "containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "auth", "secret": {"secretName": "twinway-auth", "defaultMode": 0o440}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}
    base = ["kubectl", "-n", namespace]
    run(*base, "delete", "pod", name, "--ignore-not-found", "--wait")
    run(*base, "create", "-f", "-", stdin=json.dumps(document))
    run(*base, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def probe(name, namespace, arguments):
    """Runs a command of the image in the prober; returns whether it reached the other side, and its output."""
    found = run("kubectl", "-n", namespace, "exec", name, "--", "/twinway", *arguments, check=False)
    text = (found.stdout + found.stderr).strip().splitlines()[0]
    unreached = ("refused", "no response", "not complete", "timed out", "login failed: IO error")
    return not any(words in text for words in unreached), text


def policies():
    other = f"{NAMESPACE}-other"
    run("kubectl", "create", "namespace", other, check=False)
    secret = secret_file()
    run("kubectl", "-n", other, "create", "secret", "generic", "twinway-auth", f"--from-file=auth-secret={secret}", check=False)
    secret.unlink()
    client = {"twinway.dev/client": "true"}
    unlisted = {"app.kubernetes.io/name": "twinway", "app.kubernetes.io/instance": "twinway", "app.kubernetes.io/component": "other"}
    start_prober("client", client)
    start_prober("unlabeled", {})
    start_prober("unlisted", unlisted)
    start_prober("client", client, other)

    server, service = pods()[0]["status"]["podIP"], objects("service", "twinway")["spec"]["clusterIP"]
    redis = pods("app.kubernetes.io/component=redis")[0]["status"]["podIP"]
    log_in = ["verify", "--timeout", "6s", "--url", f"ws://{service}:8080/prod"]
    connect = lambda address: ["healthcheck", "--ops-listen", address]  # noqa: E731
    # The pair server-redis is allowed too: the servers are ready.
    pairs = [
        (True, "client", NAMESPACE, log_in),
        (True, "client", NAMESPACE, [*log_in[:-1], "ws://twinway:8080/prod"]),
        (False, "unlabeled", NAMESPACE, log_in),
        (False, "client", other, log_in),
        (False, "client", NAMESPACE, connect(f"{server}:8081")),
        (False, "unlabeled", NAMESPACE, connect(f"{server}:8081")),
        (False, "client", NAMESPACE, connect(f"{redis}:6379")),
        (False, "unlabeled", NAMESPACE, connect(f"{redis}:6379")),
        (False, "client", other, connect(f"{redis}:6379")),
        # The labels of the release without a policy of its own: nothing but the default, which denies.
        (False, "unlisted", NAMESPACE, log_in),
        (False, "unlisted", NAMESPACE, connect(f"{redis}:6379")),
    ]
    wrong = []
    for allowed, name, namespace, arguments in pairs:
        reached, text = probe(name, namespace, arguments)
        print(f"    {'allowed' if allowed else 'denied'}: {name} in {namespace} to {arguments[-1]}: {text[-90:]}")
        if reached != allowed:
            wrong.append((name, namespace, arguments[-1]))
    run("kubectl", "delete", "namespace", other, "--wait=false", check=False)
    for name in ("client", "unlabeled", "unlisted"):
        kubectl("delete", "pod", name, "--wait=false")
    expect(not wrong, f"wrong: {wrong}")


def secret_file():
    path = Path(f"/tmp/twinway-test-secret-{os.getpid()}")
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(objects("secret", "twinway-auth")["data"]["auth-secret"]))
    return path


def order():
    kubectl("scale", "statefulset/twinway-redis", "--replicas=0")
    eventually("Redis to be gone", lambda: not objects("pods", "-l", "app.kubernetes.io/component=redis")["items"])
    kubectl("delete", "pods", "-l", SERVER, "--wait=false")

    def waiting():
        reasons = [run("kubectl", "-n", NAMESPACE, "logs", pod["metadata"]["name"], check=False).stdout for pod in pods()]
        return len(reasons) >= 2 and all("waiting for a dependency" in reason and '"dependency":"redis"' in reason for reason in reasons)

    eventually("two new pods to wait for Redis and say so", waiting)
    expect(not any(is_ready(pod) for pod in pods()), "a pod is ready without Redis")
    kubectl("scale", "statefulset/twinway-redis", "--replicas=1")
    eventually("Redis to be ready", lambda: any(is_ready(pod) for pod in pods("app.kubernetes.io/component=redis")))
    arrived = time.monotonic()
    eventually("the pods to be ready", lambda: len(pods()) >= 2 and all(is_ready(pod) for pod in pods()))
    print(f"    ready {time.monotonic() - arrived:.1f} s after Redis was ready")
    expect(all(pod["status"]["containerStatuses"][0]["restartCount"] == 0 for pod in pods()), "a pod restarted")


def rolling():
    enter = f"{CLUSTER_DIR}/enter"
    if not Path(enter).exists():
        print("    skipped: no route from this machine to the pods")
        return
    kube = f"kubectl --kubeconfig {CLUSTER_DIR}/inside.conf -n {NAMESPACE}"
    old = " ".join(f"pod/{pod['metadata']['name']}" for pod in pods())
    # The rollout is complete when old pods are still draining.
    during = (
        f"{kube} rollout restart deployment/twinway && {kube} rollout status deployment/twinway --timeout 240s"
        f" && {kube} wait --for=delete {old} --timeout 120s"
    )
    address = objects("service", "twinway")["spec"]["clusterIP"]
    secret = secret_file()
    try:
        found = run(
            enter, CLIENT_PROGRAM, "--url", f"ws://{address}:8080/prod", "--secret-file", secret, "--connections", CLIENTS, "--pace-ms", PACE_MS, "--during", during,
            check=False,
        )
    finally:
        secret.unlink()
    print("    " + found.stdout.strip().replace("\n", "\n    "))
    expect(found.returncode == 0, found.stderr)
    expect("1012" in found.stdout, "no client was asked to reconnect")


def rollback():
    before = image("server")
    found = k8s("deploy", IMAGE_TAG="0.0.0-missing", TIMEOUT="20s")
    expect(found.returncode == 1, f"exit code {found.returncode}: {found.stdout}{found.stderr}")
    expect("rolling back to revision" in found.stdout and "ErrImageNeverPull" in found.stdout, found.stdout)
    eventually("the old image", lambda: {pod["spec"]["containers"][0]["image"] for pod in pods()} == {before})
    verified = k8s("verify")
    expect(verified.returncode == 0, verified.stdout + verified.stderr)


def validation():
    for values, words in [
        ("redis.tpology=single", "tpology"),
        ("terminationGracePeriodSeconds=20", "need at least 34"),
        ("redis.url=redis://x:6379", "exactly one of redis.bundled"),
        ("image.tag=latest", "not latest"),
        ("settings.TWINWAY_AUTH_SECRET=x", "TWINWAY_AUTH_SECRET"),
    ]:
        found = run("helm", "template", "t", "k8s/chart", "--values", "k8s/values/dev.yaml", "--set", values, check=False)
        expect(found.returncode and words in found.stderr, f"{values}: {found.stderr}")
    found = run(sys.executable, "-B", "k8s/scripts/k8s.py", "--context", "no-such-context", "verify", check=False)
    expect(found.returncode == 64 and "no context" in found.stderr, found.stderr)


TESTS = [validation, deploy, admission, secrets, policies, order, rolling, rollback]


def main():
    keep, names = "--keep" in sys.argv, [name for name in sys.argv[1:] if name != "--keep"]
    if "--help" in names or "-h" in names:
        print(__doc__)
        return 0
    failures = []
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        started = time.monotonic()
        print(f"{test.__name__} ...", flush=True)
        try:
            test()
            print(f"{test.__name__}: passed in {time.monotonic() - started:.1f} s", flush=True)
        except SmokeTestError as failure:
            print(f"{test.__name__}: FAILED\n{failure}", flush=True)
            failures.append(test.__name__)
            if test is deploy:
                break
    if not keep:
        run("kubectl", "delete", "namespace", NAMESPACE, "--wait=false", check=False)
    print(f"failed: {', '.join(failures)}" if failures else "all passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
