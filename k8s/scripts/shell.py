"""Running programs, and the check that the current context is the intended one."""
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Failure(Exception):
    """Error for the operator, with an exit code of sysexits.h."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


class Shell:
    """Runs programs and prints them. With `dry_run`, those that change something are printed only."""

    def __init__(self, dry_run=False):
        self.dry_run = dry_run
        self.context = ""

    def run(self, *command, check=True, stdin=None, quiet=False, environment=None):
        """Runs a program that changes something; returns its exit code."""
        if not quiet:
            print("+ " + shlex.join(map(str, command)), flush=True)
        if self.dry_run:
            return 0
        code = subprocess.run([str(word) for word in command], input=stdin, text=True, cwd=ROOT, env=environment, check=False).returncode
        if code and check:
            raise Failure(f"{command[0]} failed with exit code {code}")
        return code

    def read(self, *command, check=True):
        """Runs a program that only reads; returns its output."""
        found = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, check=False)
        if found.returncode and check:
            raise Failure(f"{shlex.join(map(str, command))}: {found.stderr.strip()}")
        return found.stdout.strip()

    def kubectl(self, *arguments, **options):
        return self.run("kubectl", "--context", self.context, *arguments, **options)

    def kubectl_read(self, *arguments, **options):
        return self.read("kubectl", "--context", self.context, *arguments, **options)

    def helm(self, *arguments, **options):
        return self.run("helm", "--kube-context", self.context, *arguments, **options)

    def helm_read(self, *arguments, **options):
        return self.read("helm", "--kube-context", self.context, *arguments, **options)


def need(program, hint):
    if not shutil.which(program):
        raise Failure(f"{program} is not installed: {hint}", 69)


def is_local(context):
    return context == "twinway-local" or context == "minikube" or context.startswith("kind-")


def check_context(options):
    """Returns the context to use. One that is not local must be named by CONTEXT, or typed."""
    need("kubectl", "https://kubernetes.io/docs/tasks/tools/, or `make k8s-up`")
    found = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False)
    current = found.stdout.strip()
    if options.context:
        known = subprocess.run(["kubectl", "config", "get-contexts", "-o", "name"], capture_output=True, text=True, check=False)
        if options.context not in known.stdout.split():
            raise Failure(f"there is no context '{options.context}' in the kubeconfig; known: {', '.join(known.stdout.split()) or 'none'}", 64)
        return options.context
    if not current:
        raise Failure("no cluster: start one with `make k8s-up`, or set KUBECONFIG", 69)
    if is_local(current):
        return current
    if sys.stdin.isatty():
        typed = input(f"The current context is '{current}', which is not a local cluster. Type its name to continue: ")
        if typed == current:
            return current
    raise Failure(f"refused: the current context '{current}' is not a local cluster; set CONTEXT={current} to use it", 64)
