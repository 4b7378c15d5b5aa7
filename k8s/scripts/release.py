"""Commands for one release: deploy with verification and rollback, and the daily ones."""
import base64
import difflib
import json
import os
import re
import secrets
import subprocess
import time

import local_cluster
from shell import ROOT, OperatorError, is_local, need

RELEASE = "twinway"
RESTRICTED = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn", "audit")]


def version(shell):
    """Returns version and commit, the tag of the images."""
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    number = manifest.split("[workspace.package]")[1].split('version = "')[1].split('"')[0]
    commit = shell.read("git", "rev-parse", "--short=12", "HEAD")
    modified = subprocess.run(["git", "diff", "--quiet", "HEAD", "--"], cwd=ROOT, check=False).returncode
    return f"{number}-{commit}" + ("-modified" if modified else "")


def deploy(shell, options):
    if not shell.offline:
        need("helm", "https://helm.sh/docs/intro/install/, or `make k8s-up`")
    tag = os.environ.get("IMAGE_TAG") or version(shell)
    print(f"k8s: deploy {tag} to namespace {options.namespace} of context {shell.context} ({options.env})")
    rendered = render(shell, options, ["--set", f"image.tag={tag}", *extra_values()])
    values = image_values(shell, tag, components(rendered)) + extra_values()
    prepare_namespace(shell, options, rendered)
    before = current_revision(shell, options)
    difference = values_difference(shell, options, tag, values)
    code = upgrade(shell, options, tag, values)
    if code == 0 and not shell.dry_run:
        try:
            verify(shell, options)
        except OperatorError as failure:
            print(f"k8s: verification failed: {failure}")
            code = 1
    if code:
        recover(shell, options, before)
        raise OperatorError(f"{tag} was not deployed; the text above has the reason")
    record(shell, options, tag, difference)
    next_steps(options)
    return 0


def render(shell, options, values):
    """Returns the objects of the release as text."""
    command = ["template", RELEASE, ROOT / "k8s/chart", "--namespace", options.namespace, "--values", ROOT / f"k8s/values/{options.env}.yaml", *values]
    return shell.helm_read(*command)


def components(rendered):
    """Returns the images that the release needs, as docker/images.sh names them."""
    wanted = {"frontend": f"name: {RELEASE}-frontend\n", "migrate": "kind: CronJob\n"}
    return ["server", *(image for image, text in wanted.items() if text in rendered)]


def image_values(shell, tag, images):
    """Builds the image if needed, makes it available to the cluster, and returns the values that name it."""
    values, registry = ["--set", f"image.tag={tag}"], os.environ.get("REGISTRY")
    is_built = bool(os.environ.get("IMAGE_TAG"))
    if is_local(shell.context):
        return values + local_cluster.load_images(shell, shell.context, tag, is_built, images)
    if is_built:
        return values + (["--set", f"image.repository={registry}/twinway"] if registry else [])
    if not registry:
        raise OperatorError("this cluster pulls its images: set REGISTRY=host/path to push to, or IMAGE_TAG of an image that is there", 64)
    shell.run("docker/images.sh", environment={**os.environ, "PUSH": "1"})
    names = {"image": "twinway", "frontend.image": "twinway-frontend", "backup.image": "twinway-migrate"}
    for value, name in names.items():
        values += ["--set", f"{value}.repository={registry}/{name}"]
    return values


def extra_values():
    """Returns the values of VALUES (files, separated by commas) and SET (name=value, separated by spaces)."""
    files = [word for file in os.environ.get("VALUES", "").split(",") if file for word in ("--values", file)]
    return files + [word for value in os.environ.get("SET", "").split() for word in ("--set", value)]


def external_secrets(rendered):
    """Returns the names of the Secrets that External Secrets will create for this release."""
    documents = [document for document in rendered.split("\n---\n") if "\nkind: ExternalSecret\n" in document]
    return {re.search(r"^metadata:\n  name: (.+)$", document, flags=re.M)[1] for document in documents}


def prepare_namespace(shell, options, rendered):
    """Creates the namespace and, except in prod, generated secrets. In prod the secrets must exist, or come from External Secrets."""
    name, external = options.namespace, external_secrets(rendered)
    if not shell.kubectl_read("get", "namespace", name, "--ignore-not-found", "-o", "name"):
        shell.kubectl("create", "namespace", name)
    shell.kubectl("label", "namespace", name, "--overwrite", *RESTRICTED)
    wanted = {"twinway-auth": lambda: {"auth-secret": secrets.token_urlsafe(48)}, "twinway-redis": redis_secret}
    for secret, content in wanted.items():
        # Functions have no signing secret. Without a cluster nothing is rendered.
        is_used = not rendered or re.search(rf"name: {secret}$|[nN]ame: {secret},", rendered, flags=re.M)
        if secret in external or not is_used:
            continue
        if shell.kubectl_read("-n", name, "get", "secret", secret, "--ignore-not-found", "-o", "name"):
            continue
        if options.env == "prod":
            raise OperatorError(f"the Secret {secret} does not exist in namespace {name}: create it first (docs/KUBERNETES.md, section 'Secrets')", 64)
        print(f"k8s: generating the Secret {secret}")
        data = {key: base64.b64encode(value.encode()).decode() for key, value in content().items()}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": name}, "data": data}
        # Through standard input: arguments are visible to every user of the machine.
        shell.kubectl("create", "-f", "-", stdin=json.dumps(document))


def redis_secret():
    password = secrets.token_urlsafe(32)
    return {"redis-password": password, "users.acl": f"user default on >{password} ~* &* +@all\n"}


def upgrade(shell, options, tag, values):
    # A local cluster has no default storage class, unless kind or minikube provides one.
    code = shell.helm(
        "upgrade", "--install", RELEASE, ROOT / "k8s/chart", "--namespace", options.namespace,
        "--values", ROOT / f"k8s/values/{options.env}.yaml", *values,
        "--wait", "--timeout", os.environ.get("TIMEOUT", "4m"), "--history-max", "20", "--description", f"{tag} by {deployer()}",
        check=False,
    )
    if code:
        explain(shell, options)
    return code


def deployer():
    return os.environ.get("DEPLOYER") or os.environ.get("USER") or "unknown"


def values_difference(shell, options, tag, values):
    """Returns the difference between the settings in the cluster and the new ones, as text."""
    old = shell.kubectl_read("-n", options.namespace, "get", "configmap", RELEASE, "-o", "json", "--ignore-not-found", check=False)
    rendered = render(shell, options, [*values, "--show-only", "templates/configmap.yaml"])
    if shell.offline:
        return "first deployment"
    new = shell.kubectl_read("create", "--dry-run=client", "-o", "json", "-f", write_temporary(rendered))
    def settings(text):
        return [f"{name}={value}" for name, value in sorted(json.loads(text)["data"].items())] if text else []
    lines = difflib.unified_diff(settings(old), settings(new), lineterm="", n=0)
    difference = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    print("k8s: settings that change: " + ((", ".join(difference) or "none") if old else "all, first deployment"))
    return "\n".join(difference)[:2000] if old else "first deployment"


def write_temporary(text):
    import tempfile
    file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
    with file:
        file.write(text)
    return file.name


def current_revision(shell, options):
    """Returns the last revision that was deployed successfully, or 0."""
    history = shell.helm_read("history", RELEASE, "--namespace", options.namespace, "-o", "json", check=False)
    deployed = [entry["revision"] for entry in json.loads(history or "[]") if entry["status"] == "deployed"]
    return max(deployed, default=0)


def recover(shell, options, revision):
    if not revision:
        print("k8s: there is no earlier revision to return to; the release stays for inspection (`make k8s-down` removes it)")
        return
    print(f"k8s: rolling back to revision {revision}")
    shell.helm("rollback", RELEASE, revision, "--namespace", options.namespace, "--wait", "--timeout", "4m")


def explain(shell, options):
    """Prints why pods do not become ready: reasons of containers, and the last line of their logs."""
    pods = json.loads(shell.kubectl_read("-n", options.namespace, "get", "pods", "-o", "json"))["items"]
    for pod in (pod for pod in pods if pod["status"].get("phase") != "Succeeded"):
        name = pod["metadata"]["name"]
        for status in pod["status"].get("containerStatuses", []):
            if status["ready"]:
                continue
            ended = status.get("lastState", {}).get("terminated") or status["state"].get("terminated")
            state = status["state"].get("waiting") or status["state"].get("terminated") or {"reason": "running, not ready"}
            last = f", exit code {ended['exitCode']}" if ended else ""
            print(f"k8s: {name}: {state.get('reason')} {state.get('message', '')} (restarts: {status['restartCount']}{last})")
            log = shell.kubectl_read("-n", options.namespace, "logs", name, "--tail", "3", *(["--previous"] if status["restartCount"] else []), check=False)
            for line in log.splitlines():
                print(f"k8s:   {line}")


def record(shell, options, tag, difference):
    """Records the deployment as annotations of the Deployment and as an Event."""
    text = f"{tag} deployed by {deployer()}"
    settings = difference.replace("\n", "; ") or "none"
    shell.kubectl(
        "-n", options.namespace, "annotate", "deployment", RELEASE, "--overwrite",
        f"twinway.dev/deployed-by={deployer()}", f"twinway.dev/deployed-image={tag}", f"twinway.dev/changed-settings={settings}",
    )
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    uid = shell.kubectl_read("-n", options.namespace, "get", "deployment", RELEASE, "-o", "jsonpath={.metadata.uid}", check=False)
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": f"{RELEASE}-deploy-", "namespace": options.namespace},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": RELEASE, "namespace": options.namespace, "uid": uid},
        "reason": "Deployed", "type": "Normal", "message": f"{text}; changed settings: {settings}"[:1000],
        "source": {"component": "k8s-deploy"}, "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    }
    shell.kubectl("create", "-f", "-", stdin=json.dumps(event))


def next_steps(options):
    arguments = f"ENV={options.env}" + (f" NAMESPACE={options.namespace}" if options.namespace != f"twinway-{options.env}" else "")
    print(f"k8s: deployed. In another terminal:  make k8s-forward {arguments}")
    print(f"k8s: then:  websocat \"ws://127.0.0.1:8080/prod?token=$(make -s k8s-token {arguments} USER_ID=alice)\"")
    print(f"k8s: also:  make k8s-logs {arguments}   make k8s-rollback {arguments}   make k8s-restart {arguments}")


def verify(shell, options):
    """Checks pods, then the application through the Service. Raises OperatorError."""
    shell.kubectl("-n", options.namespace, "rollout", "status", f"deployment/{RELEASE}", "--timeout", "120s")
    if shell.dry_run:
        return 0
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=server"
    pods = json.loads(shell.kubectl_read("-n", options.namespace, "get", "pods", "-l", selector, "-o", "json"))["items"]
    for pod in (pod for pod in pods if not pod["metadata"].get("deletionTimestamp")):
        name = pod["metadata"]["name"]
        # Inside the pod: the network policies deny the way through the API server.
        ready = shell.kubectl_read("-n", options.namespace, "exec", name, "--", "/twinway", "healthcheck", "--ready")
        restarts = sum(status["restartCount"] for status in pod["status"]["containerStatuses"])
        print(f"k8s: {name}: {ready}, {restarts} restarts, {pod['spec']['containers'][0]['image']}")
    if shell.helm("test", RELEASE, "--namespace", options.namespace, "--timeout", "90s", "--logs", check=False):
        raise OperatorError("login, send and resume inside the cluster failed (helm test)")
    print("k8s: verified")
    return 0


def status(shell, options):
    shell.kubectl("-n", options.namespace, "get", "pods,hpa,pdb", "-o", "wide", check=False)
    shell.helm("history", RELEASE, "--namespace", options.namespace, "--max", "5", check=False)
    return 0


def logs(shell, options):
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=server"
    follow = [] if os.environ.get("FOLLOW") == "0" else ["--follow"]
    return shell.kubectl("-n", options.namespace, "logs", "-l", selector, "--prefix", "--tail", "50", "--max-log-requests", "20", *follow, check=False)


def forward(shell, options):
    port = (options.arguments or ["8080"])[0]
    print(f"k8s: ws://127.0.0.1:{port}/prod until Ctrl-C")
    return shell.kubectl("-n", options.namespace, "port-forward", f"service/{RELEASE}", f"{port}:8080", check=False)


def token(shell, options):
    user = (options.arguments or ["alice"])[0]
    return shell.kubectl("-n", options.namespace, "exec", f"deployment/{RELEASE}", "--", "/twinway", "token", "--user", user, quiet=True)


def debug(shell, options):
    image = (options.arguments or ["docker.io/library/busybox:1.37"])[0]
    pod = shell.kubectl_read("-n", options.namespace, "get", "pods", "-l", "app.kubernetes.io/component=server", "-o", "jsonpath={.items[0].metadata.name}")
    return shell.kubectl("-n", options.namespace, "debug", pod, "-it", "--image", image, "--target", "twinway", "--profile", "restricted", check=False)


def rollback(shell, options):
    shell.helm("rollback", RELEASE, *options.arguments[:1], "--namespace", options.namespace, "--wait", "--timeout", "4m")
    return verify(shell, options)


def restart(shell, options):
    shell.kubectl("-n", options.namespace, "rollout", "restart", f"deployment/{RELEASE}")
    return shell.kubectl("-n", options.namespace, "rollout", "status", f"deployment/{RELEASE}", "--timeout", "10m")


def config(shell, options):
    """Changes settings of the deployed revision. `helm upgrade` replaces the pods, because the settings are part of the template."""
    if not options.arguments or not all("=" in argument for argument in options.arguments):
        raise OperatorError("usage: config NAME=VALUE ..., for example TWINWAY_LOG_FORMAT=json", 64)
    values = [word for setting in options.arguments for word in ("--set-string", "settings." + setting.replace(",", "\\,"))]
    before = current_revision(shell, options)
    description = f"settings by {deployer()}: {', '.join(options.arguments)}"
    code = shell.helm(
        "upgrade", RELEASE, ROOT / "k8s/chart", "--namespace", options.namespace, "--reuse-values", *values, "--wait", "--timeout", os.environ.get("TIMEOUT", "4m"),
        "--description", description, check=False,
    )
    if code:
        explain(shell, options)
        recover(shell, options, before)
        raise OperatorError("the settings were not changed; the text above has the reason")
    return verify(shell, options)


def backup(shell, options):
    """Runs the backup now. The program compares the copy with Redis and fails on a difference."""
    return run_copy(shell, options, "backup", None)


def restore(shell, options):
    """Copies the backup to Redis, which must not have newer messages of the same channels."""
    return run_copy(shell, options, "restore", ["--from", "embedded:/backup/messages", "--to", "redis"])


def run_copy(shell, options, purpose, arguments):
    cron = f"{RELEASE}-backup"
    text = shell.kubectl_read("-n", options.namespace, "get", "cronjob", cron, "-o", "json", "--ignore-not-found")
    if not text:
        raise OperatorError("there is no backup in this release: deploy with SET=backup.enabled=true", 64)
    spec = json.loads(text)["spec"]["jobTemplate"]["spec"]
    if arguments:
        spec["template"]["spec"]["containers"][0]["args"] = arguments
    name = f"{RELEASE}-{purpose}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": options.namespace}, "spec": spec}
    shell.kubectl("create", "-f", "-", stdin=json.dumps(job))
    completed = shell.dry_run or wait_for_job(shell, options, name)
    shell.kubectl("-n", options.namespace, "logs", f"job/{name}", "--tail", "20", check=False)
    if not completed:
        raise OperatorError(f"the {purpose} did not complete, or copy and source differ: kubectl -n {options.namespace} describe job {name}")
    return 0


def wait_for_job(shell, options, name):
    """Returns whether the Job completed. Its spec limits its time and its attempts."""
    print(f"k8s: waiting for job {name}", flush=True)
    while True:
        job = json.loads(shell.kubectl_read("-n", options.namespace, "get", "job", name, "-o", "json"))
        ended = {condition["type"] for condition in job["status"].get("conditions", []) if condition["status"] == "True"}
        if ended & {"Complete", "Failed"}:
            return "Complete" in ended
        time.sleep(1)


def down(shell, options):
    shell.helm("uninstall", RELEASE, "--namespace", options.namespace, "--wait", check=False)
    print(f"k8s: removed. Volumes and Secrets stay; `kubectl delete namespace {options.namespace}` deletes them")
    return 0
