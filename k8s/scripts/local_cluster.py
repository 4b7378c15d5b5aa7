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
        # The version that `helm template` assumes without a cluster; without these, one of years ago.
        assumed = " ".join(f"-X helm.sh/helm/v3/pkg/{package}.k8sVersionM{part}" for package in ("chartutil", "lint/rules") for part in ("ajor=1", "inor=37"))
        shell.run("go", "install", "-trimpath", f"-ldflags=-s -w {assumed}", "helm.sh/helm/v3/cmd/helm@v3.22.0", environment=go)


def down(shell):
    kind = kind_of_cluster()
    if kind == "kind":
        return shell.run("kind", "delete", "cluster", "--name", KIND_NAME)
    if kind == "minikube":
        return shell.run("minikube", "delete")
    return shell.run(ROOT / "k8s/cluster/down.sh", environment={**os.environ, "CLUSTER_DIR": DIRECTORY})


def load_images(shell, context, tag, is_built, components):
    """Makes the images of the components available to the cluster's nodes; returns further values for the chart.

    `components` are those of the release: `server`, and `frontend` and `migrate` if they are enabled. With `is_built`, the image of the
    server is there already.
    """
    if context.startswith("kind-") or context == "minikube":
        if not is_built:
            shell.run("docker/images.sh", *components)
        for component in components:
            name = f"{image_name(component)}:{tag}"
            load = ("minikube", "image", "load", name) if context == "minikube" else ("kind", "load", "docker-image", name, "--name", context.removeprefix("kind-"))
            shell.run(*load)
        return []
    return own_images(shell, tag, is_built, components)


def image_name(component):
    return "twinway" if component == "server" else f"twinway-{component}"


def own_images(shell, tag, is_built, components):
    """Makes the images for k8s/cluster: of programs that are built here, and of this machine's Redis and nginx."""
    environment = {**os.environ, "CLUSTER_DIR": DIRECTORY}
    if not is_built:
        program_image(shell, "server", tag, os.environ.get("PROGRAM"), environment)
    shell.run("k8s/cluster/redis_image.sh", "localhost/redis:7", environment=environment)
    values = {
        "image.repository": "localhost/twinway", "image.pullPolicy": "Never",
        "redis.bundle.image": "localhost/redis:7", "redis.bundle.pullPolicy": "Never", "redis.bundle.command": "{/redis-server}",
    }
    if "migrate" in components:
        program_image(shell, "migrate", tag, os.environ.get("MIGRATE_PROGRAM"), environment)
        values |= {"backup.image.repository": "localhost/twinway-migrate", "backup.image.pullPolicy": "Never"}
    if "frontend" in components:
        shell.run("k8s/cluster/frontend_image.sh", f"localhost/twinway-frontend:{tag}", environment=environment)
        values |= {"frontend.image.repository": "localhost/twinway-frontend", "frontend.image.pullPolicy": "Never"}
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def program_image(shell, component, tag, program, environment):
    """Makes the image of a program: of this one, or of a static release build."""
    if not program:
        shell.run("docker/programs.sh", component, f"dist/image/{component}")
        program = f"dist/image/{component}/{image_name(component)}"
    shell.run("k8s/cluster/image.sh", f"localhost/{image_name(component)}:{tag}", program, "docker/rootfs", environment=environment)
