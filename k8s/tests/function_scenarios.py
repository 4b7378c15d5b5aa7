"""Lambda functions in pods: in the server's image, and from an image of their own through an init container."""
import os
import shutil
import sys
import tempfile
from pathlib import Path

from harness import CLUSTER_DIR, ROOT, deploy_release, expect, image, kubectl, objects, run, say, wait_until_ready
from traffic import require_own_cluster

FUNCTION = os.environ.get("FUNCTION_PROGRAM", str(ROOT / "target/debug/example_echo_rust"))
# Functions do not use Redis.
VALUES = ("functions.enabled=true", "redis.bundled=false")


def functions():
    """The sample function of examples/echo-rust answers, in the server's image and from an image of its own."""
    require_own_cluster()
    if not Path(FUNCTION).exists():
        run(os.environ.get("CARGO", "cargo"), "build", "--locked", "-p", "tests", "--bin", "example_echo_rust")
    deploy_release()
    server = image("server")
    name, tag = server.rsplit(":", 1)
    with tempfile.TemporaryDirectory() as scratch:
        in_servers_image(scratch, f"{name}:{tag}-functions")
        deploy_release(*VALUES, IMAGE_TAG=f"{tag}-functions")
        check_echo("in the server's image")
        copying_image(scratch, "localhost/functions:1")
        deploy_release(
            *VALUES, "functions.image=localhost/functions:1", "functions.copyCommand={/install,-D,/bootstrap,/functions/message/bootstrap}", IMAGE_TAG=tag,
        )
        check_echo("from an image of their own")
    expect(not any("REDIS" in key for key in objects("configmap", "twinway")["data"]), "settings of Redis without Redis")
    deploy_release(IMAGE_TAG=tag)
    wait_until_ready(2)


def in_servers_image(scratch, reference):
    """The server's program with `functions/message/bootstrap`, as `FROM twinway` and `COPY` would make it."""
    root = Path(scratch) / "server"
    shutil.copytree(ROOT / "docker/rootfs", root)
    (root / "functions/message").mkdir(parents=True)
    shutil.copy(FUNCTION, root / "functions/message/bootstrap")
    run("k8s/cluster/image.sh", reference, server_program(), root)


def copying_image(scratch, reference):
    """An image with the function and a program that copies it."""
    root = Path(scratch) / "functions"
    root.mkdir()
    shutil.copy(FUNCTION, root / "bootstrap")
    run("k8s/cluster/image.sh", reference, shutil.which("install"), root)


def server_program():
    return os.environ.get("PROGRAM") or str(ROOT / "dist/image/server/twinway")


def check_echo(where):
    wait_until_ready(2)
    address = objects("service", "twinway")["spec"]["clusterIP"]
    found = run(f"{CLUSTER_DIR}/enter", sys.executable, "-B", ROOT / "k8s/tests/echo.py", f"{address}:8080", "/prod", "hello")
    expect("sent: hello" in found.stdout, found.stdout)
    log = kubectl("logs", "-l", "app.kubernetes.io/component=server", "--tail", "200")
    expect("panicked" not in log, log)
    say(f"functions {where}: {found.stdout.strip()}")
