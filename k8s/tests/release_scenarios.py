"""Scenarios of a release: deployment, admission, secrets, start order, rollback, rejected values."""
import json
import sys
import time
from pathlib import Path

from harness import BASE_VALUES, CLUSTER_DIR, NAMESPACE, REDIS, SERVER, deploy_release, eventually, expect, image, is_ready, k8s, kubectl, objects, pods, run, say, secret_values


def deploy():
    """Deploys the chart: every pod is ready, and `helm test` logs in, sends and resumes."""
    text = deploy_release()
    expect("resumed" in text and "verified" in text, text)
    deployment = objects("deployment", "twinway")
    expect("twinway.dev/deployed-image" in deployment["metadata"]["annotations"], "the deployment is not recorded")
    events = objects("events", "--field-selector", "reason=Deployed")["items"]
    expect(events, "there is no Event of the deployment")
    for pod in pods():
        times = {condition["type"]: condition["lastTransitionTime"] for condition in pod["status"]["conditions"]}
        say(f"{pod['metadata']['name']}: scheduled {times['PodScheduled']}, ready {times['Ready']}")


def admission():
    """The namespace rejects a pod without the restricted security context; nothing runs as root."""
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
    """No secret is in a ConfigMap, a manifest or an environment."""
    values = []
    for name in ("twinway-auth", "twinway-redis"):
        values += [value.strip() for value in secret_values(name).values()]
    text = "".join(json.dumps(objects(kind)) for kind in ("configmaps", "pods", "deployments", "statefulsets", "events"))
    expect(not any(value in text for value in values), "a secret is in a manifest or an environment")
    expect("secretKeyRef" not in text, "a secret is an environment variable")


def order():
    """Pods that start before Redis wait, say why, and become ready after it, without a restart."""
    kubectl("scale", "statefulset/twinway-redis", "--replicas=0")
    eventually("Redis to be gone", lambda: not objects("pods", "-l", REDIS)["items"])
    kubectl("delete", "pods", "-l", SERVER, "--wait=false")

    def waiting():
        reasons = [run("kubectl", "-n", NAMESPACE, "logs", pod["metadata"]["name"], check=False).stdout for pod in pods()]
        return len(reasons) >= 2 and all("waiting for a dependency" in reason and '"dependency":"redis"' in reason for reason in reasons)

    eventually("two new pods to wait for Redis and say so", waiting)
    expect(not any(is_ready(pod) for pod in pods()), "a pod is ready without Redis")
    kubectl("scale", "statefulset/twinway-redis", "--replicas=1")
    eventually("Redis to be ready", lambda: any(is_ready(pod) for pod in pods(REDIS)))
    arrived = time.monotonic()
    eventually("the pods to be ready", lambda: len(pods()) >= 2 and all(is_ready(pod) for pod in pods()))
    say(f"ready {time.monotonic() - arrived:.1f} s after Redis was ready")
    expect(all(pod["status"]["containerStatuses"][0]["restartCount"] == 0 for pod in pods()), "a pod restarted")


def rollback():
    """A deployment that does not start is rolled back by itself."""
    before = image("server")
    redis = pods(REDIS)[0]["metadata"]["uid"]
    found = k8s("deploy", IMAGE_TAG="0.0.0-missing", TIMEOUT="20s", SET=" ".join(BASE_VALUES))
    expect(found.returncode == 1, f"exit code {found.returncode}: {found.stdout}{found.stderr}")
    expect("rolling back to revision" in found.stdout and "ErrImageNeverPull" in found.stdout, found.stdout)
    eventually("the old image", lambda: {pod["spec"]["containers"][0]["image"] for pod in pods()} == {before})
    verified = k8s("verify")
    expect(verified.returncode == 0, verified.stdout + verified.stderr)
    expect(pods(REDIS)[0]["metadata"]["uid"] == redis, "Redis was replaced by a new version of the server")


def validation():
    """Wrong values are rejected with the reason."""
    for values, words in [
        ("redis.tpology=single", "tpology"),
        ("terminationGracePeriodSeconds=20", "need at least 34"),
        ("redis.url=redis://x:6379", "exactly one of redis.bundled"),
        ("image.tag=latest", "not latest"),
        ("settings.TWINWAY_AUTH_SECRET=x", "TWINWAY_AUTH_SECRET"),
        ("functions.enabled=true,redis.bundled=false", "exactly one of redis.bundled"),
        ("functions.enabled=true,functions.parameters.Name=x", "set functions.template"),
        ("functions.enabled=true,postgres.enabled=true", "set postgres.enabled to false"),
    ]:
        found = run("helm", "template", "t", "k8s/chart", "--values", "k8s/values/dev.yaml", "--set", values, check=False)
        expect(found.returncode and words in found.stderr, f"{values}: {found.stderr}")
    found = run(sys.executable, "-B", "k8s/scripts/k8s.py", "--context", "no-such-context", "verify", check=False)
    expect(found.returncode == 64 and "no context" in found.stderr, found.stderr)
