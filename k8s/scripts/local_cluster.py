"""The local cluster: kind, minikube, or k8s/cluster where there is no container engine."""
import os
import shutil
import subprocess

from shell import ROOT, OperatorError, need

DIRECTORY = os.environ.get("CLUSTER_DIR", "/var/tmp/twinway-cluster")
KIND_NAME = "twinway"


def container_engine():
    for engine in ("docker", "podman"):
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    return None


def kind_of_cluster():
    if os.environ.get("CLUSTER") in ("kind", "minikube", "own"):
        return os.environ["CLUSTER"]
    if container_engine():
        for program in ("kind", "minikube"):
            if shutil.which(program):
                return program
    return "own"


def use_kubeconfig():
    """Selects k8s/cluster's configuration when it runs and KUBECONFIG is not set."""
    os.environ["PATH"] = f"{DIRECTORY}/bin:{os.environ['PATH']}"
    configuration = f"{DIRECTORY}/admin.conf"
    if "KUBECONFIG" not in os.environ and os.path.exists(f"{DIRECTORY}/run/init.pid"):
        os.environ["KUBECONFIG"] = configuration


def up(shell):
    kind = kind_of_cluster()
    print(f"k8s: local cluster: {kind}")
    if kind == "kind":
        if KIND_NAME not in shell.read("kind", "get", "clusters", check=False).split():
            shell.run("kind", "create", "cluster", "--name", KIND_NAME, "--wait", "120s")
    elif kind == "minikube":
        shell.run("minikube", "start", "--cni", "calico")
    else:
        own_cluster(shell)
    print("k8s: next: make k8s-deploy ENV=dev")
    return 0


def own_cluster(shell):
    if os.geteuid() != 0:
        raise OperatorError("k8s/cluster needs root, because it creates network namespaces; or install kind and Docker", 69)
    need("go", "it builds Kubernetes from its modules (about 12 minutes of CPU, once): https://go.dev/dl/")
    environment = {**os.environ, "CLUSTER_DIR": DIRECTORY}
    shell.run(ROOT / "k8s/cluster/up.sh", environment=environment)
    if not shutil.which("helm") and not os.path.exists(f"{DIRECTORY}/bin/helm"):
        go = {**os.environ, "GOBIN": f"{DIRECTORY}/bin", "CGO_ENABLED": "0", "GOFLAGS": ""}
        shell.run("go", "install", "-trimpath", "-ldflags=-s -w", "helm.sh/helm/v3/cmd/helm@v3.22.0", environment=go)


def down(shell):
    kind = kind_of_cluster()
    if kind == "kind":
        return shell.run("kind", "delete", "cluster", "--name", KIND_NAME)
    if kind == "minikube":
        return shell.run("minikube", "delete")
    return shell.run(ROOT / "k8s/cluster/down.sh", environment={**os.environ, "CLUSTER_DIR": DIRECTORY})


def load_images(shell, context, server, is_built):
    """Makes the image `server` available to the cluster's nodes, unless it was before; returns further values for the chart."""
    if context.startswith("kind-") or context == "minikube":
        if not is_built:
            shell.run("docker/images.sh", "server")
        if context == "minikube":
            shell.run("minikube", "image", "load", server)
        else:
            shell.run("kind", "load", "docker-image", server, "--name", context.removeprefix("kind-"))
        return []
    environment = {**os.environ, "CLUSTER_DIR": DIRECTORY}
    if not is_built:
        program = os.environ.get("PROGRAM")
        if not program:
            shell.run("docker/programs.sh", "server", "dist/image/server")
            program = "dist/image/server/twinway"
        shell.run("k8s/cluster/image.sh", f"localhost/{server}", program, "docker/rootfs", environment=environment)
    shell.run("k8s/cluster/redis_image.sh", "localhost/redis:7", environment=environment)
    return [
        "--set", "image.repository=localhost/twinway", "--set", "image.pullPolicy=Never",
        "--set", "redis.bundle.image=localhost/redis:7", "--set", "redis.bundle.pullPolicy=Never", "--set", "redis.bundle.command={/redis-server}",
    ]
