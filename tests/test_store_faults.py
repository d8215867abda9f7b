"""Stores that are full, refuse for a while, or answer 503; and clocks that go backwards: against real processes."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustbench_aigen import Run, evaluation
from robustbench_aigen.runs import results_folder

SCENARIO = """
version: 1
name: faults
data: {source: minigen, split: test, limit: 700}
detectors: [minigen/lenet5]
trust: off
pipelines:
  noise: [{perturb: gaussian_noise, sigma: 0.05}]
"""
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "faults.yaml"
    file.write_text(SCENARIO)
    return file


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "faults.yaml").write_text(SCENARIO)
    return records(evaluation.run(folder / "faults.yaml", output=folder / "out").path)


def records(folder: Path) -> pd.DataFrame:
    return Run.load(folder).records


def command(file: Path, *options: object) -> list[str]:
    return [sys.executable, "-m", "robustbench_aigen", "run", str(file), *map(str, options)]


def _with_small_files() -> None:
    """Let files grow to 20 kB alone: the system refuses more, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("engine", ["local", pytest.param("processes", marks=pytest.mark.sweep)])
def test_a_full_disk_is_one_line_and_finished_shards_are_kept(engine, file, tmp_path, undisturbed):
    options = ("--output", tmp_path / "out", "--engine", engine)
    full = subprocess.run(
        command(file, *options),
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=_with_small_files,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert full.returncode == 2, full.stderr
    assert "error: cannot write results" in full.stderr
    assert "free some space" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list((tmp_path / "out").rglob("run.json")), "half a run is no run"
    again = subprocess.run(command(file, *options), check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    pd.testing.assert_frame_equal(records(tmp_path / "out" / "faults" / "latest"), undisturbed)


class Bucket:
    """An S3 service on the loopback interface whose answers can be disturbed.

    ``refuses`` decides by the method and the number of the request whether the answer is 503.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self.application = DomainDispatcherApplication(create_backend_app)
        self.refuses: Callable[[str, int], bool] = lambda _method, _number: False
        self.counts: Counter[str] = Counter()
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.keys = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server.server_port}"}

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        self.counts[method] += 1
        if self.refuses(method, self.counts.total()):
            self.counts["refused"] += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"]
        return self.application(environ, start)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()


@pytest.fixture
def bucket(monkeypatch) -> Iterator[Bucket]:
    pytest.importorskip("moto", reason="needs moto[server]")
    pytest.importorskip("s3fs", reason="needs s3fs")
    import fsspec

    served = Bucket()
    for name, value in served.keys.items():
        monkeypatch.setenv(name, value)
    # The buckets are those of the process, whatever the server.
    urllib.request.urlopen(f"{served.keys['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"").close()
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("runs")
    yield served
    served.close()


def on_bucket(file: Path, output: Path) -> subprocess.CompletedProcess[str]:
    options = ("--engine", "processes", "--workers", "2", "--store", "s3://runs/shards", "--output", output)
    return subprocess.run(command(file, *options), check=False, capture_output=True, text=True)


def test_a_bucket_that_answers_503_now_and_then(bucket, file, tmp_path, undisturbed):
    bucket.refuses = lambda _method, number: number % 3 == 0
    done = on_bucket(file, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert bucket.counts["refused"] > 3
    pd.testing.assert_frame_equal(records(tmp_path / "out" / "faults" / "latest"), undisturbed)


@pytest.mark.sweep
def test_a_bucket_that_cannot_be_written_for_a_while(bucket, file, tmp_path, undisturbed):
    first = []

    def refuses(method: str, _number: int) -> bool:
        if method == "PUT":
            first.append(time.monotonic())
        return method == "PUT" and time.monotonic() - first[0] < 4

    bucket.refuses = refuses
    done = on_bucket(file, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert bucket.counts["refused"] >= 2
    pd.testing.assert_frame_equal(records(tmp_path / "out" / "faults" / "latest"), undisturbed)


@pytest.mark.sweep
def test_a_bucket_that_can_never_be_written_is_named(bucket, file, tmp_path, undisturbed, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket.refuses = lambda method, _number: method == "PUT"
    done = on_bucket(file, tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "the store 's3://runs/shards' cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    bucket.refuses = lambda _method, _number: False
    assert on_bucket(file, tmp_path / "out").returncode == 0
    pd.testing.assert_frame_equal(records(tmp_path / "out" / "faults" / "latest"), undisturbed)


@pytest.mark.sweep
def test_shards_that_were_cut_or_changed_on_a_bucket_are_computed_again(bucket, file, tmp_path, undisturbed):
    import fsspec

    assert on_bucket(file, tmp_path / "out").returncode == 0
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    names = sorted(name for name in system.find("runs") if name.endswith(".parquet"))
    content = system.cat_file(names[0])
    system.pipe_file(names[0], content[: len(content) // 2])
    content = bytearray(system.cat_file(names[1]))
    content[len(content) // 3] ^= 255
    system.pipe_file(names[1], bytes(content))
    done = on_bucket(file, tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "2 damaged files of the store" in done.stderr
    pd.testing.assert_frame_equal(records(tmp_path / "again" / "faults" / "latest"), undisturbed)


def test_a_clock_that_goes_backwards_costs_no_run(file, tmp_path, undisturbed, monkeypatch):
    first = evaluation.run(file, output=tmp_path / "out")

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz or UTC) - timedelta(days=2)

    monkeypatch.setattr(results_folder, "datetime", Earlier)
    yesterday = time.time() - 2 * 86_400
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: yesterday)
        second = evaluation.run(file, output=tmp_path / "out")
    assert first.path != second.path
    for run in (first, second):
        pd.testing.assert_frame_equal(records(run.path), undisturbed)
    assert all(row.shards_computed == 0 for row in second.info.timings if row.step == "cell")
    assert (tmp_path / "out" / "faults" / "latest").resolve() == second.path.resolve()
