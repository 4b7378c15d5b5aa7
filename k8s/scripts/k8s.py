#!/usr/bin/env python3
"""Commands for a release of the chart: `make k8s-…` calls this program.

usage: k8s.py [--dry-run] [--context NAME] [--namespace NAME] [--env dev|staging|prod] COMMAND [ARGUMENT ...]

  up          start a local cluster: kind or minikube where there is a container engine, k8s/cluster otherwise
  deploy      build the image, load or push it, install or upgrade, verify; roll back if that fails
  verify      check pods, readiness and restarts, then log in, send and resume inside the cluster (helm test)
  status      pods, versions, last deployments
  logs        follow the logs of all servers
  forward     forward a local port to the Service (ARGUMENT: port, default 8080)
  token       print a token (ARGUMENT: user, default alice)
  debug       start a shell in an ephemeral container next to a server (ARGUMENT: image)
  rollback    return to the previous revision (ARGUMENT: revision)
  restart     replace the pods one after the other
  config      change settings and roll: NAME=VALUE ... (environment variables of the server)
  backup      copy all messages from Redis to the backup volume now, and compare
  restore     copy the backup to Redis, and compare
  down        remove the release; with `cluster`, stop the local cluster

Every command prints the commands that it runs. --dry-run prints them only, and applies nothing;
it needs no cluster.
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import local_cluster  # noqa: E402
import release  # noqa: E402
from shell import OperatorError, Shell, select_context  # noqa: E402


def parse():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--context", default=os.environ.get("CONTEXT", ""))
    parser.add_argument("--namespace", default=os.environ.get("NAMESPACE", ""))
    parser.add_argument("--env", default=os.environ.get("ENV") or "dev")
    parser.add_argument("command", nargs="?", default="help")
    parser.add_argument("arguments", nargs="*")
    return parser.parse_args()


COMMANDS = {
    "deploy": release.deploy,
    "verify": release.verify,
    "status": release.status,
    "logs": release.logs,
    "forward": release.forward,
    "token": release.token,
    "debug": release.debug,
    "rollback": release.rollback,
    "restart": release.restart,
    "config": release.config,
    "backup": release.backup,
    "restore": release.restore,
    "down": release.down,
}


def main():
    options = parse()
    if options.help or options.command == "help":
        print(__doc__)
        return 0
    shell = Shell(dry_run=options.dry_run)
    if options.env not in ("dev", "staging", "prod"):
        raise OperatorError(f"unknown environment '{options.env}': ENV is dev, staging or prod", 64)
    options.namespace = options.namespace or f"twinway-{options.env}"
    if options.command == "up":
        return local_cluster.up(shell)
    if options.command == "down" and options.arguments == ["cluster"]:
        return local_cluster.down(shell)
    command = COMMANDS.get(options.command)
    if not command:
        raise OperatorError(f"unknown command '{options.command}'; k8s.py --help lists them", 64)
    local_cluster.use_kubeconfig()
    select_context(shell, options)
    return command(shell, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OperatorError as error:
        print(f"k8s: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
