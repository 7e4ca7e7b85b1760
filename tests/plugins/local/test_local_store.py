"""The file: bounded, shared, private; and what becomes of it when something goes wrong."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from spanserve import ConfigError
from spanserve_local.place import data_folder, file_of, make_private
from spanserve_local.settings import LocalSettings
from spanserve_local.store.reader import Reader
from spanserve_local.store.schema import MIGRATIONS, VERSION, WrongFileError, reading, writing
from spanserve_local.tracer import Local
from support.local_store import (
    RESOURCE,
    filled,
    numbers_in,
    request_spans,
    traces_of,
    writer_of,
)
from support.serving import DEADLINE_S, until

NOW = time.time_ns()
BEGAN = 10**18
"""When the writers of `local_store` write."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a file may be made."""
    return tmp_path / "traces.db"


@pytest.fixture
def tracer(file: Path) -> Iterator[Local]:
    """The tracer as the exporter has it."""
    tracer = Local()
    tracer.tracer_started(LocalSettings(path=file), RESOURCE)
    yield tracer
    tracer.tracer_stopping()


def count(file: Path, of: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(f"SELECT {of}").fetchone()[0])


def test_small_chunks_are_put_together_and_no_trace_is_lost_or_there_twice(file: Path) -> None:
    numbers = list(range(600))
    filled(file, numbers)
    assert numbers_in(file) == numbers
    assert list(traces_of(file, [0, 299, 599])) == [["POST /predict", "run"]] * 3
    assert count(file, "count(*) FROM chunks") < 10
    assert count(file, "sum(spans) FROM chunks") == 1200


def test_whoever_reads_while_chunks_are_put_together_sees_each_trace_once(file: Path) -> None:
    filled(file, [0])
    done = threading.Event()

    def write() -> None:
        filled(file, list(range(1, 400)))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reader, looks = Reader(file), 0
    while not done.is_set():
        lows = [int(low) for low in reader.entries().columns["low"]]
        assert sorted(lows) == list(range(1, len(lows) + 1))
        looks += 1
    thread.join()
    reader.close()
    assert looks > 1
    assert numbers_in(file) == list(range(400))


def test_the_oldest_go_where_the_file_is_full_and_are_counted(file: Path) -> None:
    bound = 8 * 1024 * 1024
    writer = writer_of(file, max_bytes=bound)
    texts = iter(lambda: os.urandom(500).hex(), "")
    largest = written = 0
    for call in range(240):
        numbers = range(call * 100, call * 100 + 100)
        spans = [s for n in numbers for s in request_spans(n, BEGAN + n, text=next(texts))]
        writer.append(spans)
        written += len(spans)
        files = (file, file.with_name("traces.db-wal"))
        largest = max(largest, sum(each.stat().st_size for each in files))
    writer.close()
    assert largest <= bound
    kept = numbers_in(file)
    assert kept == list(range(kept[0], 24_000))
    assert kept[0] > 12_000
    left = count(file, "sum(spans) FROM chunks")
    assert left + count(file, "spans FROM counters WHERE name = 'bytes'") == written


def test_a_smaller_bound_than_before_makes_the_file_smaller(file: Path) -> None:
    writer = writer_of(file)
    for number in range(200):
        writer.append(request_spans(number, BEGAN + number, text=os.urandom(60_000).hex()))
    writer.close()
    assert file.stat().st_size > 12_000_000
    smaller = writer_of(file, max_bytes=8 * 1024 * 1024)
    for number in range(200, 210):
        smaller.append(request_spans(number, BEGAN + number))
    smaller.close()
    assert file.stat().st_size <= 8 * 1024 * 1024
    assert numbers_in(file)[-1] == 209


def test_what_is_too_old_goes(file: Path) -> None:
    filled(file, [0, 1], now_s=1e9)
    filled(file, [5], now_s=1e9 + 3500)
    assert numbers_in(file) == [0, 1, 5]
    filled(file, [6], now_s=1e9 + 7000)
    assert numbers_in(file) == [5, 6]


def test_what_is_too_old_is_not_shown_though_nobody_wrote_since(file: Path) -> None:
    filled(file, [0, 1], now_s=1e9)
    for later_s, seen in ((3000, 2), (4000, 0)):
        now_s = 1e9 + later_s
        reader = Reader(file, max_age_s=3600, now_s=lambda now_s=now_s: now_s)  # type: ignore[misc]  # its type is clear
        assert len(reader.entries().columns["low"]) == seen
        assert (reader.trace(f"{1:032x}") is not None) == bool(seen)
        reader.close()


def test_spans_that_come_late_find_their_trace(file: Path) -> None:
    writer = writer_of(file)
    root, run = request_spans(1, NOW)
    late = run._replace(
        name="later", span_id="00000000000000aa", attributes={"spanserve.late": True}
    )
    writer.append([root, run])
    writer.append([late])
    writer.close()
    assert list(traces_of(file, [1])) == [["POST /predict", "run", "later"]]


WRITES_FOR_EVER = """
import sys
from pathlib import Path
from support.local_store import request_spans, writer_of

writer, number = writer_of(Path(sys.argv[1])), 0
while True:
    writer.append(request_spans(number, 10**18 + number))
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_had_written(file: Path) -> None:
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(file)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        written += [int(line) for line in process.stdout if line.endswith("\n")]
    found = numbers_in(file)
    assert found[: len(written)] == written
    assert len(found) <= len(written) + 1
    with closing(writing(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    filled(file, [10_000])
    assert numbers_in(file)[-1] == 10_000


def test_several_processes_make_and_fill_one_file_at_the_same_time(file: Path) -> None:
    program = "import sys\nfrom pathlib import Path\nfrom support.local_store import filled\n"
    program += "n = int(sys.argv[2]); filled(Path(sys.argv[1]), range(n, n + 40))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(file), str(n)], env=env)
        for n in range(0, 160, 40)
    ]
    assert [process.wait(DEADLINE_S) for process in processes] == [0] * 4
    assert numbers_in(file) == list(range(160))


def test_a_broken_file_costs_traces_which_are_counted_with_what_to_do(
    file: Path, tracer: Local
) -> None:
    tracer.export_spans(request_spans(0, NOW))
    file.with_name("traces.db-wal").unlink()
    replaced = file.with_name("other")
    replaced.write_bytes(b"this is no database, and never was one" * 1000)
    replaced.replace(file)
    result = tracer.export_spans(request_spans(1, NOW))
    assert (result.delivered, result.rejected) == (0, 2)
    assert result.reason == (
        f"{file} is no file of spanserve's traces, or is broken; move it away, or set "
        "tracing.local.path to another file"
    )
    file.unlink()
    assert tracer.export_spans(request_spans(2, NOW)).delivered == 2
    assert numbers_in(file) == [2]


def test_chunks_that_are_broken_cost_no_others(file: Path) -> None:
    filled(file, list(range(2000)), each=1000)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE chunks SET body = x'00' WHERE id = 1")
    assert list(traces_of(file, [1500])) == [["POST /predict", "run"]]
    reader = Reader(file)
    with pytest.raises(sqlite3.DatabaseError):
        reader.trace(f"{1:032x}")
    reader.close()


FULL = """
import json, resource, sys, time
from pathlib import Path
from spanserve_local.settings import LocalSettings
from spanserve_local.tracer import Local
from support.local_store import RESOURCE, request_spans
import os

tracer = Local()
tracer.tracer_started(LocalSettings(path=Path(sys.argv[1])), RESOURCE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
results = []
for number in range(10):
    text = os.urandom(30_000).hex()
    result = tracer.export_spans(request_spans(number, time.time_ns(), text=text))
    results.append([result.delivered, result.rejected, result.reason])
print(json.dumps(results))
"""


def test_a_full_disk_costs_traces_which_are_counted(file: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FULL, str(file)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)
    assert results[0] == [2, 0, None]
    assert results[-1][:2] == [0, 2]
    assert results[-1][2] in {"database or disk is full", "disk I/O error"}
    delivered = sum(result[0] for result in results) // 2
    assert numbers_in(file) == list(range(delivered))


def test_a_file_that_is_gone_is_made_anew(file: Path, tracer: Local) -> None:
    tracer.export_spans(request_spans(0, NOW))
    for each in file.parent.glob("traces.db*"):
        each.unlink()
    assert tracer.export_spans(request_spans(1, NOW)).delivered == 2
    assert numbers_in(file) == [1]


def test_an_older_file_is_brought_up_to_date_by_whichever_comes_first(file: Path) -> None:
    filled(file, [0, 1])
    newer = [*MIGRATIONS, "ALTER TABLE chunks ADD COLUMN note TEXT", "CREATE TABLE more (x)"]
    with ThreadPoolExecutor(4) as pool:
        opened = [each.result() for each in [pool.submit(writing, file, newer) for _ in range(4)]]
    for connection in opened:
        assert connection.execute("PRAGMA user_version").fetchall() == [(VERSION + 2,)]
        assert connection.execute("SELECT sum(traces), max(note) FROM chunks").fetchall() == [
            (2, None)
        ]
        connection.close()


def test_a_file_of_a_newer_version_is_refused_by_who_writes_and_by_who_reads(file: Path) -> None:
    filled(file, [0])
    writing(file, [*MIGRATIONS, "CREATE TABLE more (x)"]).close()
    before = file.read_bytes()
    words = f"was written by a newer spanserve-local .its schema is {VERSION + 1}, this one knows"
    for opened in (writing, reading):
        with pytest.raises(WrongFileError, match=words):
            opened(file)
    with pytest.raises(ConfigError, match=words):
        Local().tracer_started(LocalSettings(path=file), RESOURCE)
    assert file.read_bytes() == before


def test_another_programs_database_is_left_as_it_is(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    file.chmod(0o644)
    before = file.read_bytes()
    with pytest.raises(WrongFileError, match="is no file of spanserve's traces"):
        Local().tracer_started(LocalSettings(path=file), RESOURCE)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (before, 0o644)


def test_the_file_and_its_folder_are_the_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "below" / "traces.db"
    before = os.umask(0)
    try:
        make_private(file)
        filled(file, [0])
        writer = writer_of(file)
        writer.append(request_spans(1, NOW))
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert modes == dict.fromkeys(["traces.db", "traces.db-shm", "traces.db-wal"], 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    writer.close()
    file.chmod(0o644)
    make_private(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_path_the_file_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert file_of(None) == tmp_path / "data" / "spanserve" / "traces.db"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder().is_relative_to(tmp_path)
    assert file_of(tmp_path) == tmp_path / "traces.db"


def test_where_nothing_can_be_written_it_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "is a file").touch()
    file = tmp_path / "is a file" / "traces.db"
    with pytest.raises(ConfigError) as caught:
        make_private(file)
    assert str(caught.value) == (
        f"traces cannot be written to {file}: Not a directory; set tracing.local.path "
        "(SPANSERVE__TRACING__LOCAL__PATH) to a file in a folder that can be written, as a "
        "mounted volume"
    )


def test_it_is_seen_within_a_second(file: Path) -> None:
    writer = writer_of(file)
    writer.append(request_spans(0, NOW))
    assert until(lambda: numbers_in(file) == [0], deadline_s=1)
    writer.close()
