"""Network policies: allowed pairs connect, denied pairs do not."""
import json

from harness import NAMESPACE, REDIS, expect, image, kubectl, objects, pods, run, say, secret_file


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
    """Allowed pairs connect, denied pairs do not."""
    other = f"{NAMESPACE}-other"
    run("kubectl", "create", "namespace", other, check=False)
    with secret_file() as secret:
        run("kubectl", "-n", other, "create", "secret", "generic", "twinway-auth", f"--from-file=auth-secret={secret}", check=False)
    client = {"twinway.dev/client": "true"}
    unlisted = {"app.kubernetes.io/name": "twinway", "app.kubernetes.io/instance": "twinway", "app.kubernetes.io/component": "other"}
    start_prober("client", client)
    start_prober("unlabeled", {})
    start_prober("unlisted", unlisted)
    start_prober("client", client, other)

    server, service = pods()[0]["status"]["podIP"], objects("service", "twinway")["spec"]["clusterIP"]
    redis = pods(REDIS)[0]["status"]["podIP"]
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
        say(f"{'allowed' if allowed else 'denied'}: {name} in {namespace} to {arguments[-1]}: {text[-90:]}")
        if reached != allowed:
            wrong.append((name, namespace, arguments[-1]))
    run("kubectl", "delete", "namespace", other, "--wait=false", check=False)
    for name in ("client", "unlabeled", "unlisted"):
        kubectl("delete", "pod", name, "--wait=false")
    expect(not wrong, f"wrong: {wrong}")
