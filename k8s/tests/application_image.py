"""Images of functions for k8s/cluster: with the server, with Python and Node.js of this machine, or alone."""
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from harness import ROOT, SkippedError, run

FUNCTION = os.environ.get("FUNCTION_PROGRAM", str(ROOT / "target/debug/example_echo_rust"))
APPLICATION = ROOT / "k8s/tests/fixtures/application"
# Parts of the standard library that no function needs.
OMITTED = ("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages", "config-*", "__pycache__")


def function_in_servers_image(scratch, reference):
    """The server's program with `functions/message/bootstrap`, as `FROM twinway` and `COPY` would make it."""
    root = server_root(scratch, "function")
    (root / "functions/message").mkdir(parents=True)
    shutil.copy(FUNCTION, root / "functions/message/bootstrap")
    run("k8s/cluster/image.sh", reference, server_program(), root)


def copying_image(scratch, reference):
    """An image with the function and a program that copies it."""
    root = Path(scratch) / "copy"
    root.mkdir()
    shutil.copy(FUNCTION, root / "bootstrap")
    run("k8s/cluster/image.sh", reference, shutil.which("install"), root)


def application_image(scratch, reference):
    """The server with an application in /application and interpreters, as docker/functions.Dockerfile makes it."""
    root = server_root(scratch, "application")
    copy_python(root)
    copy_node(root)
    shutil.copytree(APPLICATION, root / "application")
    install_sdks(root / "application")
    run("k8s/cluster/image.sh", reference, server_program(), root)


def server_program():
    return os.environ.get("PROGRAM") or str(ROOT / "dist/image/server/twinway")


def server_root(scratch, name):
    root = Path(scratch) / name
    shutil.copytree(ROOT / "docker/rootfs", root)
    (root / "usr/bin").mkdir(parents=True)
    return root


def copy_python(root):
    """Copies the interpreter of this program and its standard library to the same paths; /usr/bin/python3 is a link."""
    program = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    target = root / library.relative_to("/")
    shutil.copytree(library, target, ignore=shutil.ignore_patterns(*OMITTED))
    for extension in target.glob("lib-dynload/*.so"):
        extension.chmod(0o755)  # image.sh adds the libraries of executable files
    copy = root / program.relative_to("/")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, copy)
    link = root / "usr/bin/python3"
    if not link.exists():
        link.symlink_to(program)


def copy_node(root):
    program = shutil.which("node")
    if not program:
        raise SkippedError("needs Node.js")
    shutil.copy(os.path.realpath(program), root / "usr/bin/node")


def install_sdks(application):
    """Installs the AWS SDKs into the code of the functions, in the versions of tests/sdk."""
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps",
        "--target", application / "presence", "-r", ROOT / "tests/sdk/python/requirements.txt",
    )
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests/sdk/javascript" / name, application / "relay")
    run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", application / "relay")
