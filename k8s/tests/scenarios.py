#!/usr/bin/env python3
"""Tests of the chart on a running cluster. usage: scenarios.py [--keep] [--list] [--requirements] [GROUP or SCENARIO ...]

GROUP is smoke (default: one node, no further components) or all. --list prints the scenarios. --requirements prints the number of
nodes and the addons of k8s/cluster that the named ones need. --keep leaves the namespace. Scenarios with clients need k8s/cluster: elsewhere this machine
has no route to the pods, and they are skipped.
"""
import sys
import time
from dataclasses import dataclass
from typing import Callable

sys.dont_write_bytecode = True
import backup_scenarios as backups  # noqa: E402
import capacity_scenarios as capacity  # noqa: E402
import change_scenarios as change  # noqa: E402
import fault_scenarios as fault  # noqa: E402
import function_scenarios as function  # noqa: E402
import gateway_scenarios as edge  # noqa: E402
import policy_scenarios as policy  # noqa: E402
import release_scenarios as release  # noqa: E402
import scaling_scenarios as autoscaling  # noqa: E402
from harness import NAMESPACE, ScenarioError, SkippedError, run  # noqa: E402


@dataclass
class Scenario:
    """A test, and the cluster that it needs."""

    body: Callable[[], None]
    smoke: bool = False
    nodes: int = 1
    addons: tuple = ()

    @property
    def name(self):
        return self.body.__name__


SCENARIOS = [
    Scenario(release.validation, smoke=True),
    Scenario(release.deploy, smoke=True),
    Scenario(release.admission, smoke=True),
    Scenario(release.secrets, smoke=True),
    Scenario(policy.policies, smoke=True),
    Scenario(release.order, smoke=True),
    Scenario(fault.rolling, smoke=True),
    Scenario(release.rollback, smoke=True),
    Scenario(fault.kill, smoke=True),
    Scenario(fault.redis_restart, smoke=True),
    Scenario(change.secret_rotation),
    Scenario(change.config_change),
    Scenario(change.crash),
    Scenario(change.upgrade),
    Scenario(backups.backup),
    Scenario(function.functions),
    Scenario(function.function_pods, nodes=2),
    Scenario(fault.drain, nodes=2),
    Scenario(fault.node_loss, nodes=2),
    Scenario(capacity.start),
    Scenario(capacity.idle),
    Scenario(capacity.targets),
    Scenario(capacity.rolling_thousand),
    Scenario(edge.gateway),
    Scenario(autoscaling.scaling, addons=("metrics-server",)),
]


def select(names):
    """Returns the scenarios of groups and names, in their order of execution."""
    known = {scenario.name for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known | {"smoke", "all"}]
    if unknown:
        sys.exit(f"scenarios: unknown: {', '.join(unknown)}; known: smoke, all, {', '.join(sorted(known))}")
    names = names or ["smoke"]
    return [scenario for scenario in SCENARIOS if "all" in names or scenario.name in names or (scenario.smoke and "smoke" in names)]


def print_requirements(selected):
    addons = ["coredns", "kube-router", *sorted({addon for scenario in selected for addon in scenario.addons})]
    print(max(scenario.nodes for scenario in selected), *addons)


def execute(selected):
    """Runs the scenarios; returns the names of those that failed."""
    failures = []
    for scenario in selected:
        started = time.monotonic()
        print(f"{scenario.name} ...", flush=True)
        try:
            scenario.body()
            print(f"{scenario.name}: passed in {time.monotonic() - started:.1f} s", flush=True)
        except SkippedError as reason:
            print(f"{scenario.name}: skipped: {reason}", flush=True)
        except ScenarioError as failure:
            print(f"{scenario.name}: FAILED\n{failure}", flush=True)
            failures.append(scenario.name)
            if scenario.body is release.deploy:
                break
    return failures


def main():
    flags, names = [word for word in sys.argv[1:] if word.startswith("-")], [word for word in sys.argv[1:] if not word.startswith("-")]
    if set(flags) - {"--keep", "--list", "--requirements"}:
        print(__doc__)
        return 0 if set(flags) & {"--help", "-h"} else 64
    selected = select(names)
    if "--requirements" in flags:
        print_requirements(selected)
        return 0
    if "--list" in flags:
        for scenario in SCENARIOS:
            print(f"{scenario.name:18} {'smoke' if scenario.smoke else '     '} {scenario.body.__doc__}")
        return 0
    failures = execute(selected)
    if "--keep" not in flags:
        run("kubectl", "delete", "namespace", NAMESPACE, "--wait=false", check=False)
    print(f"failed: {', '.join(failures)}" if failures else "all passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
