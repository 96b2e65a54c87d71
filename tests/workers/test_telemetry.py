"""Logs, metrics and traces: of parts alone, and of real workers."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mlffdb.errors import ConfigError
from mlffdb.store.database import Database
from mlffdb_workers import logs, metrics, trace
from mlffdb_workers.observer import timed
from mlffdb_workers.telemetry import Telemetry
from tests.cli.running import mlffdb, refused, started, wait_until
from tests.helpers import add_molecules

needs_xtb = pytest.mark.skipif(find_spec("tblite") is None, reason="needs the extra xtb")
needs_client = pytest.mark.skipif(
    find_spec("prometheus_client") is None, reason="needs the extra metrics"
)


def failure(code: str, key: str = "k", *, retry: bool = False) -> dict[str, Any]:
    return {"code": code, "message": f"{code} of a task", "key": key, "retry": retry}


# ---- logs ----


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_of_json_lines_has_the_facts_of_the_worker_in_each(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    with logs.writing(level="info", style="json", file=file) as context:
        context.update(worker="w1", device="cuda:0", teacher="orb-v2", run=3)
        observer = logs.LogObserver()
        with timed(observer, "write", tasks=4) as facts:
            facts.update(done=3, failed=0, late=1)
        with timed(observer, "claim", tasks=4):
            pass  # debug only
        logging.getLogger("mlffdb.teachers").info("a message with %s", "an argument")
        logging.getLogger("mlffdb.teachers").debug("too low")
    wrote, late, message = lines(file)
    assert (wrote["event"], wrote["done"], wrote["level"]) == ("wrote", 3, "info")
    assert (late["event"], late["tasks"], late["level"]) == ("late", 1, "warning")
    assert message["message"] == "a message with an argument"
    facts = {"worker": "w1", "device": "cuda:0", "teacher": "orb-v2", "run": 3,
             "host": socket.gethostname(), "pid": os.getpid()}  # fmt: skip
    for line in (wrote, late, message):
        assert line.items() >= facts.items()


def test_the_first_failure_of_each_kind_is_logged_and_all_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    with logs.writing(level="info", style="json", file=file):
        observer = logs.LogObserver()
        for number in range(11):
            observer.event("failed", **failure("scf_failed", f"s{number}"))
        observer.event("failed", **failure("hung", retry=True))
        observer.event("stopped", reason="no open tasks", done=0, failed=12, late=0)
    first, tenth, retry, stopped = lines(file)
    assert (first["event"], first["task"], first["count"]) == ("failed", "s0", 1)
    assert (tenth["task"], tenth["count"]) == ("s9", 10)
    assert (retry["event"], retry["code"]) == ("retry", "hung")
    assert stopped["reasons"] == {"scf_failed": 11, "hung": 1}


def test_a_lower_budget_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    with logs.writing(level="info", style="json", file=file):
        observer = logs.LogObserver()
        for budget in (512.0, 512.0, 256.0):
            observer.phase("compute", 0.0, 1.0, {"tasks": 1, "budget": budget})
    (line,) = lines(file)
    assert (line["event"], line["before"], line["budget"]) == ("budget_lowered", 512.0, 256.0)


def test_text_is_one_line_an_event_and_credentials_are_hidden(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    with logs.writing(file=file):
        log = logging.getLogger("mlffdb_workers.x")
        log.warning("cannot reach postgresql://me:s3cret@host/db, password=s3cret host=h")
        logs.LogObserver().event("away", error="no route", next_try_seconds=0.5)
    message, away = file.read_text().splitlines()
    assert "s3cret" not in message
    assert "postgresql://me:***@host/db" in message
    assert "password=*** host=h" in message
    assert ' warning away error="no route" next_try_seconds=0.5 host=' in away


def test_other_handlers_are_left_alone() -> None:
    root, ours = logging.getLogger(), logging.getLogger("mlffdb")
    handler, mine = logging.NullHandler(), logging.NullHandler()
    root.addHandler(handler)
    ours.addHandler(mine)
    before = (list(root.handlers), root.level, ours.level, ours.propagate)
    try:
        with logs.writing(level="debug"):
            assert list(root.handlers) == before[0]
            assert mine in ours.handlers
        assert (list(root.handlers), root.level, ours.level, ours.propagate) == before
        assert ours.handlers == [mine]
    finally:
        root.removeHandler(handler)
        ours.removeHandler(mine)


# ---- metrics ----


def scrape(port: int) -> dict[str, float]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        body = answer.read().decode()
    rows = [line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


def free_port() -> int:
    """A port that is free, and the one after it too."""
    for port in range(20_000, 32_000, 7):
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no free port")


@needs_client
def test_metrics_count_what_happens() -> None:
    port = free_port()
    with metrics.serving("127.0.0.1", port, {"worker": "w1", "device": "cpu"}) as observer:
        observer.phase("claim", 0.0, 0.5, {"tasks": 8})
        observer.phase("compute", 1.0, 4.0, {"tasks": 8, "cost": 100.0, "budget": 512.0})
        observer.phase("write", 4.0, 4.25, {"tasks": 8, "done": 5, "failed": 2, "late": 1})
        observer.phase("write", 5.0, 6.0, {"tasks": 8, "error": "OperationalError"})
        observer.event("failed", **failure("hung"))
        observer.event("failed", **failure("hung"))
        observer.event("away", error="gone")
        found = scrape(port)
        again = metrics.serving("127.0.0.1", port, {})
        with pytest.raises(metrics.MetricsPortError, match="another --metrics-port"), again:
            pass
    assert found['mlffdb_worker_info{device="cpu",worker="w1"}'] == 1
    assert found["mlffdb_tasks_claimed_total"] == 8
    assert found["mlffdb_tasks_done_total"] == 5
    assert found["mlffdb_tasks_late_total"] == 1
    assert found['mlffdb_tasks_failed_total{code="hung"}'] == 2
    assert found["mlffdb_batches_total"] == 1
    assert found["mlffdb_batch_compute_seconds_sum"] == 3
    assert found["mlffdb_batch_write_seconds_count"] == 1
    assert found['mlffdb_phase_seconds_total{phase="write"}'] == 1.25
    assert found["mlffdb_batch_budget"] == 512
    assert found["mlffdb_database_outages_total"] == 1
    assert found["mlffdb_heartbeat_age_seconds"] > 0


def test_each_worker_has_a_port_of_its_own_and_the_rest_in_common(tmp_path: Path) -> None:
    telemetry = Telemetry(metrics_port=9400, profile=tmp_path / "t.json", log_format="json")
    for index in (0, 3):
        option, argument = telemetry.arguments(index)
        assert option == "--telemetry"
        found = Telemetry.parse(argument)
        assert found.metrics_port == 9400 + index
        assert (found.profile, found.log_format) == (telemetry.profile, "json")
    assert Telemetry.parse(Telemetry().arguments(2)[1]) == Telemetry()


# ---- traces ----


def test_a_trace_can_be_read_while_it_is_written_and_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    trace.begin(path)
    with trace.tracing(path, "label emt cpu") as observer:
        observer.phase("compute", 1.0, 2.0, {"tasks": 3})
        observer.event("away", error="gone")
        open_end = json.loads(path.read_text() + "]")
        assert [event["name"] for event in open_end][-2:] == ["compute", "away"]
        with path.open("a") as file:
            file.write('\n,{"name": "comp')  # killed in the middle of a line
        observer.phase("write", 2.0, 2.5, {"tasks": 3})
    (worker,) = trace.finish(path)
    events = json.loads(path.read_text())
    assert [event["name"] for event in events if event["ph"] == "X"] == ["compute", "write"]
    assert (worker.name, worker.seconds) == ("label emt cpu", 1.5)
    assert worker.share("compute") == pytest.approx(2 / 3)


def test_a_trace_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    trace.begin(path)
    observer = trace.TraceObserver(path, "w", limit=2_000)
    for number in range(1_000):
        observer.phase("compute", number, number + 1, {})
        if number % 10 == 0:
            observer.event("back")  # written at once
    observer.close()
    assert path.stat().st_size < 5_000
    trace.finish(path)
    assert json.loads(path.read_text())[-1]["name"] == "the trace is full"


def test_files_that_cannot_be_written_are_told_at_once(db: Database, tmp_path: Path) -> None:
    missing = tmp_path / "no" / "such"
    with pytest.raises(ConfigError):
        trace.begin(missing)
    for option in ("--profile", "--log-file"):
        line = refused("label", "--teacher", "gfn2-xtb", option, str(missing))
        assert f"{option} {missing} cannot be written: No such file" in line


# ---- of real workers ----


def assert_nested(events: list[dict[str, Any]]) -> None:
    """Phases of one thread follow each other, or are inside of each other."""
    threads = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert threads
    for spans in threads.values():
        open_ends: list[int] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1]
            open_ends.append(end)


@needs_xtb
@needs_client
def test_two_workers_tell_what_they_do(db: Database, tmp_path: Path) -> None:
    add_molecules(db, 300)
    port = free_port()
    profile, log_file = tmp_path / "trace.json", tmp_path / "log.jsonl"
    seen: dict[int, dict[str, float]] = {}

    def look() -> None:
        while not ended.wait(0.05):
            for number in (port, port + 1):
                with suppress(OSError):
                    seen[number] = scrape(number)

    ended = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        result = mlffdb("label", "--teacher", "gfn2-xtb", "--workers", "2", "--profile",
                        str(profile), "--metrics-port", str(port), "--log-format", "json",
                        "--log-file", str(log_file))  # fmt: skip
    finally:
        ended.set()
        looking.join()
    assert result.exit_code == 0, result.output

    events = json.loads(profile.read_text())
    assert_nested(events)
    phases = defaultdict(float)
    tasks = 0
    for event in (event for event in events if event["ph"] == "X"):
        phases[event["name"]] += event["dur"] / 1e6
        tasks += event["args"]["tasks"] if event["name"] == "compute" else 0
    assert tasks == 300
    assert {"load", "wait", "compute", "claim", "prepare", "write", "renew"} <= set(phases)
    with db.begin() as connection:
        stored = connection.scalar(text("SELECT sum(compute_seconds) FROM worker"))
    assert phases["compute"] == pytest.approx(stored, rel=0.05)
    for worker in trace.summary(events):  # the thread that computes does nothing else
        assert 0.8 < sum(worker.share(phase) for phase in ("load", "wait", "compute")) < 1.01
    assert "Share of each worker's time" in result.stdout
    assert str(profile) in result.stdout.replace("\n", "")

    assert set(seen) == {port, port + 1}
    infos = {name for found in seen.values() for name in found if name.startswith("mlffdb_worker")}
    assert len(infos) == 2

    logged = lines(log_file)
    assert [line["event"] for line in logged].count("started") == 2
    assert sum(line["done"] for line in logged if line["event"] == "wrote") == 300
    assert {line["reason"] for line in logged if line["event"] == "stopped"} == {"no open tasks"}
    assert {(line["teacher"], line["device"]) for line in logged} == {("gfn2-xtb", "cpu")}


@needs_xtb
def test_a_trace_is_valid_after_a_kill(db: Database, tmp_path: Path) -> None:
    add_molecules(db, 500)
    path = tmp_path / "trace.json"
    arguments = ("label", "--teacher", "gfn2-xtb", "--workers", "1", "--profile", str(path))
    with started(*arguments) as command:
        wait_until(lambda: path.exists() and '"compute"' in path.read_text())
        with db.begin() as connection:
            (worker,) = connection.execute(text("SELECT pid FROM worker")).scalars()
        os.kill(command.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        command.wait()
    events = json.loads(path.read_text().rstrip().rstrip(",") + "]")
    assert_nested(events)
    assert "compute" in {event["name"] for event in events}


@needs_xtb
@needs_client
def test_a_port_that_is_taken_is_one_line(db: Database) -> None:
    add_molecules(db, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("label", "--teacher", "gfn2-xtb", "--workers", "1", "--metrics-port",
                       str(port))  # fmt: skip
    assert f"metrics cannot be served on 127.0.0.1:{port}: Address already in use" in line


def test_without_the_client_the_extra_is_named() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None\n" \
           "from mlffdb_workers.metrics import require_client\nrequire_client()"  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "pip install 'mlffdb[metrics]'" in found.stderr
