"""`make soak`: `tenfold ui` left running with a schedule every minute while runs, code servers and the daemon are killed at random.

Afterwards every run must have ended and nothing may have grown beyond its bound: memory, open files and processes of the
servers at rest, bytes of Dagster's databases a run. Prints one JSON object; exit code 1 if a bound was missed.

    python tests/soak.py --minutes 30 --seed 0
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from servers import Servers, until
from support import lay_out, tenfold

PAPER = "crossmodal_anomaly"
BOUNDS = {
    "processes": "as many as at the start",
    "memory": "1.25 times the start",
    "handles": "1.25 times the start",
    "bytes a run": "400 kB",
}
KILL_RUN_S, TRAIN_S = 40, 120


def at_rest(servers: Servers) -> dict[str, float]:
    """Processes, resident MB and open files of the servers once no run is in progress."""
    wait_for_rest(servers)
    time.sleep(15)
    found = servers.processes()
    return {
        "processes": len(found),
        "memory": sum(process.memory_info().rss for process in found) / 2**20,
        "handles": sum(process.num_fds() for process in found),
    }


def wait_for_rest(servers: Servers, patience_s: float = 900) -> None:
    """Until every run has ended and no retry of one is still to come."""

    def rest() -> bool:
        with servers.instance() as instance:
            runs = instance.get_runs()
        return all(run.is_finished and not awaits_retry(run) for run in runs)

    until(rest, patience_s, say=servers.log.read_text)


def awaits_retry(run: dg.DagsterRun) -> bool:
    return run.tags.get("dagster/will_retry") == "true" and "dagster/auto_retry_run_id" not in run.tags


def schedule(servers: Servers, on: bool) -> None:
    """Switch the schedule as one does in the UI."""
    selector = {"repositoryLocationName": "light", "repositoryName": "__repository__", "scheduleName": "every_minute"}
    if on:
        query = "mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename ... on PythonError { message } } }"
        answer = servers.graphql(query, s=selector)["startSchedule"]
    else:
        query = "query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule { scheduleState { id } } } }"
        state = servers.graphql(query, s=selector)["scheduleOrError"]["scheduleState"]["id"]
        query = "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename ... on PythonError { message } } }"
        answer = servers.graphql(query, id=state)["stopRunningSchedule"]
    assert answer["__typename"] == "ScheduleStateResult", answer


def kill_a_run(servers: Servers, chance: random.Random) -> str | None:
    """SIGKILL to the process of a run in progress, if there is one."""
    with servers.instance() as instance:
        started = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        pids = [pid for run in started if (pid := worker_of(instance, run.run_id)) is not None]
    if not pids:
        return None
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return "run"


def worker_of(instance: Any, run_id: str) -> int | None:
    from pipelines import recovery

    pid = recovery.process_of(instance, run_id)
    return pid if pid is not None and psutil.pid_exists(pid) else None


def kill_a_server(servers: Servers, chance: random.Random) -> str | None:
    """SIGKILL to the daemon or to a code server."""
    name, words = chance.choice([("daemon", "dagster._daemon"), ("code server", "api grpc")])
    found = servers.processes(words)
    if not found:
        return None
    chance.choice(found).kill()
    return name


def database_bytes(servers: Servers) -> int:
    return sum(path.stat().st_size for path in (servers.home / "dagster").rglob("*") if path.is_file())


def soak(servers: Servers, minutes: float, servers_every_s: float, chance: random.Random, say: Any) -> Counter[str]:
    """Until the time is over; what was killed, how often."""
    kills: Counter[str] = Counter()
    end = time.monotonic() + minutes * 60
    due = {name: time.monotonic() + every for name, every in (("run", KILL_RUN_S), ("server", servers_every_s), ("train", 5))}
    number = 0
    while time.monotonic() < end:
        time.sleep(1)
        now = time.monotonic()
        try:
            if now > due["train"]:
                number += 1
                overrides = {"epochs": 40, "seeds": [0], "lr": 1e-3 * (1 + number / 1000)}
                servers.launch(PAPER, "demo.peg", ["dataset", "prepared", "features", "model"], model=overrides)
                due["train"] = now + TRAIN_S
        except (OSError, AssertionError) as error:
            # the webserver goes down with a killed daemon for as long as it takes to start again
            say(f"could not launch: {str(error)[:100]}")
            due["train"] = now + 10
        killed = None
        if now > due["run"]:
            killed = kill_a_run(servers, chance)
            due["run"] = now + chance.uniform(0.5, 1.5) * KILL_RUN_S if killed else now + 1
        elif now > due["server"]:
            killed = kill_a_server(servers, chance)
            due["server"] = now + chance.uniform(0.8, 1.2) * servers_every_s if killed else now + 1
        if killed:
            kills[killed] += 1
            say(f"killed a {killed}")
    return kills


def main() -> int:
    """Lay out, soak, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--servers-every", type=float, default=150, metavar="S", help="seconds between kills of the daemon or a code server"
    )
    args = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{(time.monotonic() - began) / 60:6.1f} min  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        root = lay_out(Path(folder) / "demo")
        say("the demo runs once")
        done = tenfold(root, "run", f"{PAPER}.demo.peg", "--to", "model")
        assert done.returncode == 0, done.stderr
        servers = Servers(root, Path(folder))
        try:
            return judge(servers, args, random.Random(args.seed), say)
        finally:
            servers.stop()


def judge(servers: Servers, args: argparse.Namespace, chance: random.Random, say: Any) -> int:
    """Compare the servers at rest before and after."""
    servers.start()
    for run in [servers.launch(PAPER, "demo.peg", ["dataset"]), servers.launch("light", "six.a", work={"seconds": 0.1})]:
        assert servers.finished(run) == "SUCCESS"
    before = at_rest(servers)
    bytes_before = database_bytes(servers)
    with servers.instance() as instance:
        runs_before = instance.get_runs_count()
    schedule(servers, on=True)
    say("the schedule is on")
    kills = soak(servers, args.minutes, args.servers_every, chance, say)
    until(lambda: answers(servers))
    schedule(servers, on=False)
    say("the schedule is off; waiting for the last runs")
    after = at_rest(servers)
    with servers.instance() as instance:
        runs = instance.get_runs()
        statuses = Counter(run.status.value for run in runs)
        unheld = all(
            not (info := instance.event_log_storage.get_concurrency_info(pool)).claimed_slots and not info.pending_steps
            for pool in ("gpu", "dvc")
        )
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(run.root_run_id or run.run_id, []).append(run.status.value)
    # a run and its two retries may all be killed: that is the end that `max_retries` sets
    lost = [servers.story(run) for run, found in groups.items() if "SUCCESS" not in found and len(found) < 3]
    each = (database_bytes(servers) - bytes_before) / max(len(runs) - runs_before, 1)
    doctor = tenfold(servers.root, "doctor", "--verify", PYTHONPATH=str(servers.code))
    servers.stop()
    left = [" ".join(process.cmdline()) for process in servers.processes()]
    checks = {
        "every run has ended": set(statuses) <= {"SUCCESS", "FAILURE"},
        "each succeeded, itself or by a retry, unless killed three times": not lost,
        "no slot is held": unheld,
        "processes": after["processes"] <= before["processes"],
        "memory": after["memory"] <= 1.25 * before["memory"],
        "handles": after["handles"] <= 1.25 * before["handles"],
        "bytes a run": each <= 400e3,
        "tenfold doctor --verify": doctor.returncode == 0,
        "nothing left behind": not left,
    }
    shown = {
        "minutes": args.minutes, "kills": dict(kills), "runs": dict(statuses), "before": before, "after": after, "bytes a run": round(each),
        "bounds": BOUNDS, "checks": checks,
    }  # fmt: skip
    print(json.dumps(shown, indent=2))
    if not all(checks.values()):
        print(lost, left, doctor.stdout, servers.log.read_text(), sep="\n", file=sys.stderr)
    return 0 if all(checks.values()) else 1


def answers(servers: Servers) -> bool:
    """Whether the webserver is there, with both code locations."""
    try:
        found = servers.graphql("{workspaceOrError{... on Workspace{locationEntries{locationOrLoadError{__typename}}}}}")
    except OSError:
        return False
    entries = found["workspaceOrError"].get("locationEntries", [])
    return len(entries) == 2 and all((entry["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation" for entry in entries)


if __name__ == "__main__":
    sys.exit(main())
