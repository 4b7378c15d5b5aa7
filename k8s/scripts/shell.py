"""Running programs, and the check that the current context is the intended one."""
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class OperatorError(Exception):
    """Error for the operator, with an exit code of sysexits.h."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


class Shell:
    """Runs programs and prints them. With `dry_run`, those that change something are printed only; without a cluster, reads of
    the cluster then return nothing, as before the first deployment."""

    def __init__(self, dry_run=False):
        self.dry_run = dry_run
        self.offline = False
        self.context = ""

    def run(self, *command, check=True, stdin=None, quiet=False, environment=None):
        """Runs a program that changes something; returns its exit code."""
        if not quiet:
            print("+ " + shlex.join(map(str, command)), flush=True)
        if self.dry_run:
            return 0
        code = subprocess.run([str(word) for word in command], input=stdin, text=True, cwd=ROOT, env=environment, check=False).returncode
        if code and check:
            raise OperatorError(f"{command[0]} failed with exit code {code}")
        return code

    def read(self, *command, check=True):
        """Runs a program that only reads; returns its output."""
        found = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, check=False)
        if found.returncode and check:
            raise OperatorError(f"{shlex.join(map(str, command))}: {found.stderr.strip()}")
        return found.stdout.strip()

    def kubectl(self, *arguments, **options):
        return self.run("kubectl", "--context", self.context, *arguments, **options)

    def kubectl_read(self, *arguments, **options):
        if self.offline:
            return ""
        return self.read("kubectl", "--context", self.context, *arguments, **options)

    def helm(self, *arguments, **options):
        return self.run("helm", "--kube-context", self.context, *arguments, **options)

    def helm_read(self, *arguments, **options):
        if self.offline:
            return ""
        return self.read("helm", "--kube-context", self.context, *arguments, **options)


def need(program, hint):
    if not shutil.which(program):
        raise OperatorError(f"{program} is not installed: {hint}", 69)


def is_local(context):
    return context == "twinway-local" or context == "minikube" or context.startswith("kind-")


def select_context(shell, options):
    """Sets the context of the shell. A dry run without a cluster prints the commands for a local one."""
    found = shutil.which("kubectl") and subprocess.run(["kubectl", "config", "current-context"], capture_output=True, check=False)
    if shell.dry_run and not options.context and not (found and found.returncode == 0):
        shell.offline = True
        shell.context = "twinway-local"
    else:
        shell.context = check_context(options)


def check_context(options):
    """Returns the context to use. One that is not local must be named by CONTEXT, or typed."""
    need("kubectl", "https://kubernetes.io/docs/tasks/tools/, or `make k8s-up`")
    found = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False)
    current = found.stdout.strip()
    if options.context:
        known = subprocess.run(["kubectl", "config", "get-contexts", "-o", "name"], capture_output=True, text=True, check=False)
        if options.context not in known.stdout.split():
            raise OperatorError(f"there is no context '{options.context}' in the kubeconfig; known: {', '.join(known.stdout.split()) or 'none'}", 64)
        return options.context
    if not current:
        raise OperatorError("no cluster: start one with `make k8s-up`, or set KUBECONFIG", 69)
    if is_local(current):
        return current
    if sys.stdin.isatty():
        typed = input(f"The current context is '{current}', which is not a local cluster. Type its name to continue: ")
        if typed == current:
            return current
    raise OperatorError(f"rejected: the current context '{current}' is not a local cluster; set CONTEXT={current} to use it", 64)
