"""Changes of a release under clients: secrets, settings, an image that crashes, the chart of the previous version."""
import json
import secrets as random_secrets
import shutil
import tempfile
from pathlib import Path

from fault_scenarios import restart_pods
from harness import (
    BASE_VALUES, CLUSTER_DIR, NAMESPACE, ROOT, SERVER, SkippedError, deploy_release, ensure_release, eventually, expect, image, k8s, kubectl, objects, pod_names, pods, run, say,
    secret_values, wait_until_ready, write_secret,
)
from traffic import traffic

PREVIOUS = "auth.previousSecretsKey=previous-secrets"


def secret_rotation():
    """The signing secret and the password of Redis are replaced; clients with tokens of the old secret stay connected."""
    ensure_release()
    auth, redis = secret_values("twinway-auth"), secret_values("twinway-redis")
    old_secret, old_password = auth["auth-secret"], redis["redis-password"]
    old_token = k8s("token", "alice").stdout.strip()
    expect(handshake_status(old_token) == "101", "the token is not accepted before the rotation")
    new_secret, new_password = (random_secrets.token_urlsafe(48) for _ in range(2))
    with traffic(secret=old_secret) as report:
        write_secret("twinway-auth", {"auth-secret": new_secret, "previous-secrets": old_secret})
        # Redis accepts both passwords until no server uses the old one.
        redis_command(old_password, "ACL", "SETUSER", "default", f">{new_password}")
        users = f"user default on >{new_password} ~* &* +@all\n"
        write_secret("twinway-redis", {"redis-password": new_password, "users.acl": users})
        text = deploy_release(PREVIOUS)
        wait_until_ready(2)
        redis_command(new_password, "ACL", "SETUSER", "default", f"<{old_password}")
    expect("verified" in text and report.closed_with(1012), "the pods were not replaced")
    expect("WRONGPASS" in redis_command(old_password, "PING"), "Redis accepts the old password")
    with traffic(secret=old_secret, clients=10, pace_ms=200):
        pass
    # The end of the rotation: tokens of the old secret are rejected.
    write_secret("twinway-auth", {"auth-secret": new_secret})
    deploy_release()
    expect(new_secret not in kubectl("get", "configmap,deployment", "-o", "json"), "the secret is in a manifest")
    expect(handshake_status(old_token) == "401", "a token of the old secret is accepted")
    with traffic(clients=10, pace_ms=200):
        pass


def redis_command(password, *arguments):
    found = run("kubectl", "-n", NAMESPACE, "exec", "twinway-redis-0", "--", "/redis-cli", "--no-auth-warning", "-a", password, *arguments, check=False)
    return found.stdout + found.stderr


def handshake_status(token):
    """HTTP status of a handshake with this token."""
    address = objects("service", "twinway")["spec"]["clusterIP"]
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    url = f"http://{address}:8080/prod?token={token}"
    found = run(f"{CLUSTER_DIR}/enter", "curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", *upgrade, url, check=False)
    return found.stdout.strip()


def config_change():
    """A changed setting rolls the pods; a wrong one is rejected with the reason, and rolled back."""
    ensure_release()
    with traffic() as report:
        changed = k8s("config", "TWINWAY_PROFILE=open")
        expect(changed.returncode == 0, changed.stdout + changed.stderr)
        wait_until_ready(2)
    expect(report.closed_with(1012), "the pods were not replaced")
    expect(setting("TWINWAY_PROFILE") == "open", "the setting has no effect")
    names = pod_names()
    with traffic() as report:
        refused = k8s("config", "TWINWAY_PROFILE=opne", TIMEOUT="30s")
        expect(refused.returncode == 1, refused.stdout + refused.stderr)
        wait_until_ready(2)
    say(next(line for line in refused.stdout.splitlines() if "opne" in line and "k8s:" in line))
    expect(setting("TWINWAY_PROFILE") == "open" and pod_names() == names, "the change was not undone")
    expect(not report.data["closes_by_code"], "a client was disconnected by a change that was rejected")


def setting(name):
    return objects("configmap", "twinway")["data"].get(name)


def crash():
    """An image that crashes stops the rollout: old pods serve on, `k8s-deploy` reports and rolls back, `k8s-rollback` recovers."""
    ensure_release()
    before, names = image("server"), pod_names()
    crashing = f"{before.rsplit(':', 1)[0]}:0.0.0-crash"
    make_crashing_image(crashing)
    with traffic() as report:
        found = k8s("deploy", IMAGE_TAG="0.0.0-crash", TIMEOUT="20s", SET=" ".join(BASE_VALUES))
        expect(found.returncode == 1, found.stdout + found.stderr)
        expect("rolling back to revision" in found.stdout and "exit code 1" in found.stdout, found.stdout)
        eventually("the old image", lambda: {pod["spec"]["containers"][0]["image"] for pod in pods()} == {before})
        # The same without `make k8s-deploy`: the rollout stops, and does not end.
        values = ["--reuse-values", "--set", "image.tag=0.0.0-crash"]
        run("helm", "upgrade", "twinway", "k8s/chart", "-n", NAMESPACE, *values)
        eventually("the crash", lambda: any(is_crashing(pod) for pod in pods()))
        status = run("kubectl", "-n", NAMESPACE, "rollout", "status", "deployment/twinway", "--timeout", "5s", check=False)
        expect(status.returncode, "the rollout completed")
        recovered = k8s("rollback")
        expect(recovered.returncode == 0 and "verified" in recovered.stdout, recovered.stdout + recovered.stderr)
        wait_until_ready(2)
    expect(pod_names() == names, "a server was replaced")
    expect(not report.data["closes_by_code"], f"clients were disconnected: {report.data['closes_by_code']}")


def is_crashing(pod):
    return any(status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" for status in pod["status"].get("containerStatuses", []))


def make_crashing_image(reference):
    """Makes an image whose program exits at once, in the nodes of k8s/cluster."""
    if not Path(f"{CLUSTER_DIR}/run/init.pid").exists():
        raise SkippedError("needs k8s/cluster, to make an image that crashes")
    run("k8s/cluster/image.sh", reference, shutil.which("false"), CLUSTER_DIR=CLUSTER_DIR)


def upgrade():
    """The previous version of the chart is upgraded to this one and rolled back."""
    with tempfile.TemporaryDirectory() as scratch:
        previous = extract_previous_chart(scratch)
        ensure_release()
        values = json.loads(run("helm", "-n", NAMESPACE, "get", "values", "twinway", "-o", "json").stdout)
        # Policies of the previous version may not admit the clients of the tests.
        values["networkPolicy"] = {"enabled": False}
        run("helm", "uninstall", "twinway", "-n", NAMESPACE, "--wait")
        eventually("the old pods to be gone", lambda: not objects("pods", "-l", SERVER)["items"])
        run("helm", "install", "twinway", previous, "-n", NAMESPACE, "--values", "-", "--wait", "--timeout", "3m", stdin=json.dumps(values))
        wait_until_ready(2)
        with traffic() as report:
            text = deploy_release()
            wait_until_ready(2)
            undone = k8s("rollback")
            expect(undone.returncode == 0, undone.stdout + undone.stderr)
            wait_until_ready(2)
        say(f"chart {chart_version(previous)} to {chart_version(ROOT / 'k8s/chart')} and back, {report.closed_with(1012)} moves")
    expect("verified" in text, text)
    deploy_release()


def chart_version(directory):
    text = (Path(directory) / "Chart.yaml").read_text(encoding="utf-8")
    return next(line.split()[1] for line in text.splitlines() if line.startswith("version:"))


def extract_previous_chart(scratch):
    """Writes the last commit of the chart whose version is not that of the working copy; returns its directory."""
    changes = run("git", "log", "--format=%H", "-G^version:", "--", "k8s/chart/Chart.yaml", check=False).stdout.split()
    now = chart_version(ROOT / "k8s/chart")
    for commit in ["HEAD", *(f"{change}^" for change in changes)]:
        shutil.rmtree(f"{scratch}/k8s", ignore_errors=True)
        archive = f"git archive {commit} k8s/chart | tar -x -C {scratch}"
        if run("sh", "-c", archive, check=False).returncode == 0 and chart_version(f"{scratch}/k8s/chart") != now:
            return f"{scratch}/k8s/chart"
    raise SkippedError("the history of this clone has no other version of the chart")
