#!/usr/bin/env python3
"""Writes values of the chart for EKS from the outputs of the stack Platform (docs/AWS.md, section "Pods").

usage: eks_values.py [--log redis|postgres] [--log-ca SECRET] OUTPUTS

OUTPUTS is the file of `cdk deploy --outputs-file`. Messages are stored in PostgreSQL (default) or in Valkey. SECRET is the name of the
Secret with the certificate authority of RDS, in the key `ca.crt` (twinway-postgres-ca). The values are JSON, which is YAML.
"""
import argparse
import json
import sys
from pathlib import Path

WANTED = (
    "TargetGroup", "EntryCidrs", "DataCidrs", "CacheEndpoint", "CacheTopology", "CachePassword", "DatabaseEndpoint", "DatabaseSecret", "SigningSecret",
    "Registry", "Region",
)


def platform_outputs(path):
    """Returns the outputs of the one platform in the file. Exits with the reason if there is none, or if outputs are missing."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"eks_values: {path} is not a file of `cdk deploy --outputs-file`: {error}")
    platforms = [outputs for name, outputs in document.items() if name.endswith("-Platform")]
    if len(platforms) != 1:
        sys.exit(f"eks_values: {path} has {len(platforms)} stacks named Twinway-…-Platform instead of one: deploy with -c platform=eks")
    missing = [name for name in WANTED if not platforms[0].get(name)]
    if missing:
        sys.exit(f"eks_values: {path} lacks the outputs {', '.join(missing)}: deploy the platform with this version")
    return platforms[0]


def values(outputs, log, log_ca):
    images = {name: {"repository": f"{outputs['Registry']}/{image}"} for name, image in (("frontend", "twinway-frontend"), ("backup", "twinway-migrate"))}
    data = outputs["DataCidrs"].split(",")
    found = {
        "image": {"repository": f"{outputs['Registry']}/twinway"},
        **{name: {"image": image} for name, image in images.items()},
        "redis": {
            # TLS; the certificate of ElastiCache is verified with the public authorities in the image.
            "url": f"rediss://{outputs['CacheEndpoint']}:6379",
            "urlSecret": {"name": ""},
            "caSecret": {"name": ""},
            "passwordSecret": {"name": "twinway-redis"},
            "topology": outputs["CacheTopology"],
        },
        "externalSecrets": {
            "enabled": True, "region": outputs["Region"], "auth": outputs["SigningSecret"], "redisPassword": outputs["CachePassword"],
            "postgres": outputs["DatabaseSecret"], "postgresHost": outputs["DatabaseEndpoint"],
        },
        "targetGroup": {"arn": outputs["TargetGroup"]},
        # The load balancer of the platform ends TLS.
        "gateway": {"enabled": False, "create": False},
        "certificate": {"enabled": False},
        "networkPolicy": {
            "gatewayNamespaces": [], "redisCidrs": data, "postgresCidrs": data,
            "clientCidrs": outputs["EntryCidrs"].split(","), "opsCidrs": outputs["EntryCidrs"].split(","),
        },
        # The load balancer appends one address.
        "settings": {"TWINWAY_TRUSTED_PROXIES": 1},
    }
    if log == "postgres":
        found["postgres"] = {
            "enabled": True, "urlSecret": {"name": "twinway-postgres"}, "passwordSecret": {"name": "twinway-postgres"}, "caSecret": {"name": log_ca},
        }
        # The backup copies Redis; RDS has snapshots of its own.
        found["backup"]["enabled"] = False
    return found


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
    parser.add_argument("--log", choices=("redis", "postgres"), default="postgres")
    parser.add_argument("--log-ca", default="twinway-postgres-ca")
    parser.add_argument("outputs")
    options = parser.parse_args()
    print(json.dumps(values(platform_outputs(options.outputs), options.log, options.log_ca), indent=2))


if __name__ == "__main__":
    main()
