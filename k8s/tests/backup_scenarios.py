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
    before = channels()
    expect(len(before) > 20, f"only {len(before)} channels")
    run_cron_job()
    kept = k8s("backup")
    expect(kept.returncode == 0, kept.stdout + kept.stderr)
    redis_command("FLUSHALL")
    expect(not channels(), "Redis is not empty")
    restored = k8s("restore")
    expect(restored.returncode == 0, restored.stdout + restored.stderr)
    after = channels()
    messages = sum(count for count, _ in before.values())
    say(f"{len(before)} channels, {messages} messages; identical after the restore: {after == before}")
    expect(after == before, f"{len(after)} channels after the restore")
    eventually("the pods to be ready", lambda: k8s("verify").returncode == 0)
    deploy_release()


def run_cron_job():
    """Starts the Job of the CronJob as its schedule would."""
    kubectl("delete", "job", "scheduled", "--ignore-not-found")
    kubectl("create", "job", "scheduled", "--from=cronjob/twinway-backup")
    kubectl("wait", "job/scheduled", "--for=condition=Complete", "--timeout", "120s")


# Key, number of entries and hash of the entries of every stream.
CONTENT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'stream' then
    local entries = redis.call('XRANGE', key, '-', '+')
    table.insert(found, key .. ' ' .. #entries .. ' ' .. redis.sha1hex(cjson.encode(entries)))
  end
end
return found
"""


def channels():
    """Number of entries and hash of every channel in Redis."""
    lines = [line.rsplit(" ", 2) for line in redis_command("EVAL", CONTENT, "0").splitlines() if line]
    return {key: (int(count), digest) for key, count, digest in lines}


def redis_command(*arguments):
    password = secret_values("twinway-redis")["redis-password"]
    return run("kubectl", "-n", NAMESPACE, "exec", "twinway-redis-0", "--", "/redis-cli", "--no-auth-warning", "-a", password, *arguments).stdout
