"""Backup of Redis by the CronJob and its restore, verified by content."""
from harness import NAMESPACE, deploy_release, eventually, expect, k8s, kubectl, provide_volume, run, say, secret_values, wait_until_ready
from traffic import traffic


def backup():
    """Every message in Redis is in the backup, and in Redis again after a restore into an empty one."""
    provide_volume("twinway-backup")
    deploy_release("backup.enabled=true")
    wait_until_ready(2)
    with traffic(clients=20, pace_ms=200):
        pass
    before = streams()
    expect(len(before) > 20, f"only {len(before)} channels")
    run_cron_job()
    kept = k8s("backup")
    expect(kept.returncode == 0, kept.stdout + kept.stderr)
    redis_command("FLUSHALL")
    expect(not streams(), "Redis is not empty")
    restored = k8s("restore")
    expect(restored.returncode == 0, restored.stdout + restored.stderr)
    after = streams()
    messages = sum(len(entries) for entries in before.values())
    say(f"{len(before)} channels, {messages} messages; identical after the restore: {after == before}")
    expect(after == before, f"{len(after)} channels after the restore, {sum(map(len, after.values()))} messages")
    eventually("the pods to be ready", lambda: k8s("verify").returncode == 0)
    deploy_release()


def run_cron_job():
    """Starts the Job of the CronJob as its schedule would."""
    kubectl("delete", "job", "scheduled", "--ignore-not-found")
    kubectl("create", "job", "scheduled", "--from=cronjob/twinway-backup")
    kubectl("wait", "job/scheduled", "--for=condition=Complete", "--timeout", "120s")


def streams():
    """Entries of all channels by key."""
    keys = [key for key in redis_command("--scan").splitlines() if redis_command("TYPE", key).strip() == "stream"]
    return {key: redis_command("--json", "XRANGE", key, "-", "+") for key in keys}


def redis_command(*arguments):
    password = secret_values("twinway-redis")["redis-password"]
    return run("kubectl", "-n", NAMESPACE, "exec", "twinway-redis-0", "--", "/redis-cli", "--no-auth-warning", "-a", password, *arguments).stdout
