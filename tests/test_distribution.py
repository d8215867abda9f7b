"""Runs over several processes: equal records, lost workers, shards that fail, stores behind URLs."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from robustbench_aigen import Run, UserError, evaluation, registry
from robustbench_aigen.engine import distribution, runner, spreading
from robustbench_aigen.engine import store as store_module
from robustbench_aigen.engine.distribution import ATTEMPTS, Finished, SetAsideError, Spread, distribute
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.ssim_sample import SMALL_IMAGES
from robustbench_aigen.engine.store import RemoteStore, ShardCache, open_store
from robustbench_aigen.engine.worker import ShardJob

SCENARIO = """
version: 1
name: spread
data: {source: minigen, split: test, limit: 300}
detectors: [minigen/lenet5, {id: minigen/lenet5, name: again}]
threshold: youden
trust: off
pipelines:
  pgd: [{attack: pgd, eps: [1/255, 2/255], steps: 3}]
  noise: [{perturb: gaussian_noise, sigma: 0.05}]
"""
PLUGIN = '''
import os
import time
import uuid
from pathlib import Path

from robustbench_aigen.plugins import perturbation

@perturbation(params={"place": {"kind": "text"}})
def fails(levels, *, place):
    """Ends the process, or raises an error, as a file says; the number of tries is counted."""
    place = Path(place)
    (place / f"{len(levels)} {uuid.uuid4()}").touch()
    if (place / "dies").exists():
        (place / "dies").unlink()
        os._exit(1)
    if (place / "slow").exists():
        time.sleep(0.5)
    if (place / "fails").exists() and len(levels) == 44:
        raise RuntimeError("the disk is on fire")
    return 255 - levels
'''


@pytest.fixture(autouse=True)
def _no_plugins_stay() -> Iterator[None]:
    before = registry._snapshot()
    yield
    registry._restore(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "spread.yaml"
    file.write_text(SCENARIO)
    return file


def records(folder: Path) -> pd.DataFrame:
    return Run.load(folder / "spread" / "latest").records


def cached(folder: Path) -> set[int]:
    info = json.loads((folder / "spread" / "latest" / "run.json").read_text())
    cells = [each for each in info["timings"] if each["step"] == "cell"]
    return {each["shards_computed"] for each in cells if "validation" not in each["pipeline"]}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("alone")
    (folder / "spread.yaml").write_text(SCENARIO)
    evaluation.run(folder / "spread.yaml", output=folder / "out")
    return records(folder / "out")


def test_processes_give_the_records_of_one_process(file, tmp_path, cli, alone):
    options = ("--engine", "processes", "--workers", "2", "--output", tmp_path / "out")
    outcome = cli("run", file, *options)
    assert outcome.code == 0, outcome.err
    pd.testing.assert_frame_equal(records(tmp_path / "out"), alone)
    assert cached(tmp_path / "out") == {0}, "the workers computed every shard"
    again = cli("run", file, *options)
    assert again.code == 0, again.err
    assert cli("run", file, "--fresh", *options).code == 0
    pd.testing.assert_frame_equal(records(tmp_path / "out"), alone)


def test_ray_gives_the_records_of_one_process_and_is_not_imported_without(file, tmp_path, cli, alone):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    outcome = cli(
        "run", file, "--engine", "ray", "--workers", "2", "--threads", "1", "--output", tmp_path / "out",
        "--store", f"file://{tmp_path / 'store'}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    pd.testing.assert_frame_equal(records(tmp_path / "out"), alone)
    assert cached(tmp_path / "out") == {0}
    # Another machine, with the same store: nothing is computed again.
    other = cli("run", file, "--store", f"file://{tmp_path / 'store'}", "--output", tmp_path / "other")
    assert other.code == 0, other.err
    assert cached(tmp_path / "other") == {0}
    pd.testing.assert_frame_equal(records(tmp_path / "other"), alone)


@pytest.mark.sweep
def test_a_lost_machine_of_a_cluster_costs_its_jobs_alone(file, tmp_path, alone):
    ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    store = tmp_path / "store"

    def remove_after_the_first_shard() -> None:
        while not list(store.rglob("*.parquet")):
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    watcher = threading.Thread(target=remove_after_the_first_shard)
    watcher.start()
    try:
        evaluation.run(file, output=tmp_path / "out", engine="ray", cache=store, threads=1)
    finally:
        watcher.join()
        ray.shutdown()
        cluster.shutdown()
    pd.testing.assert_frame_equal(records(tmp_path / "out"), alone)


@pytest.fixture
def failing(tmp_path: Path) -> tuple[Path, Path]:
    """A scenario with a perturbation that fails as files in a folder say, and the folder."""
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "failing.py").write_text(PLUGIN)
    text = SCENARIO.partition("pipelines:")[0].replace("threshold: youden\n", "plugins: [failing.py]\n")
    text = text.replace(", {id: minigen/lenet5, name: again}", "")
    file = tmp_path / "failing.yaml"
    file.write_text(f"{text}pipelines:\n  inverted: [{{perturb: fails, place: {place}}}]\n")
    return file, place


def tries(place: Path) -> dict[str, int]:
    """How often the perturbation was called, by the number of images."""
    return dict(Counter(each.name.split()[0] for each in place.glob("* *")))


def test_a_process_that_ends_is_started_again(failing, tmp_path, cli):
    file, place = failing
    (place / "dies").touch()
    outcome = cli("run", file, "--engine", "processes", "--workers", "1", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert tries(place) == {"128": 3, "44": 1}, "the first batch of the first shard twice"
    assert len(records(tmp_path / "out")) == 600


def test_a_shard_that_always_fails_is_set_aside_and_the_others_are_kept(failing, tmp_path, cli):
    file, place = failing
    (place / "fails").touch()
    options = ("--engine", "processes", "--workers", "2", "--output", tmp_path / "out")
    outcome = cli("run", file, *options)
    assert outcome.code == 3
    assert "1 shard of 2 failed 3 times and is set aside" in outcome.err
    assert "the disk is on fire" in outcome.err
    assert tries(place) == {"128": 2, "44": ATTEMPTS}
    (place / "fails").unlink()
    assert cli("run", file, *options).code == 0
    assert tries(place) == {"128": 2, "44": ATTEMPTS + 1}, "the good shard was not computed again"


class Fakes:
    """Workers that compute nothing, and fail where they are told."""

    slots = 3

    def __init__(self, errors: dict[int, list[Exception]]) -> None:
        self.errors, self.running, self.most, self.log = errors, deque(), 0, []

    def submit(self, job):
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        self.log.append(job.number)

    def wait(self):
        job = self.running.popleft()
        planned = self.errors.get(job.number, [])
        return [Finished(job, error=planned.pop(0) if planned else None)]

    def close(self):
        """Nothing to end."""

    def described(self):
        return "fakes"


@pytest.fixture
def execution(tmp_path):
    class Stub:
        progress = Silent()
        cache = ShardCache(tmp_path / "cache", fresh=True)

        class experiment:  # noqa: N801
            pipelines = (0, 1)

    return Stub()


def jobs(count: int) -> list[ShardJob]:
    return [
        ShardJob(n, 0, (n,), ("",), frozenset(), SMALL_IMAGES, False, (f"key {n}",)) for n in range(count)
    ]


def test_jobs_do_not_pile_up_and_failures_are_tried_again(execution):
    workers = Fakes({2: [OSError("gone")] * (ATTEMPTS - 1), 5: [MemoryError("full")]})
    distribute(execution, jobs(10), workers)
    assert workers.most == workers.slots
    assert sorted(workers.log) == sorted([*range(10), 2, 2, 5])
    assert execution.cache._stale == {f"key {n}" for n in range(10)}, "stored by others in this run"


def test_wrong_input_is_not_tried_again_and_failures_come_last(execution):
    workers = Fakes({0: [OSError("gone")] * ATTEMPTS})
    with pytest.raises(SetAsideError, match=r"1 shard of 4 failed 3 times and is set aside: OSError: gone"):
        distribute(execution, jobs(4), workers)
    assert set(workers.log) == {0, 1, 2, 3}
    workers = Fakes({1: [UserError("no such image")]})
    with pytest.raises(UserError, match="no such image"):
        distribute(execution, jobs(4), workers)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"workers": 2}, "--workers needs --engine"),
        ({"address": "auto"}, "--address needs --engine ray"),
        ({"engine": "rey"}, "did you mean 'ray'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(file, keys, said):
    with pytest.raises(UserError) as caught:
        evaluation.run(file, **keys)
    assert said in str(caught.value)


def test_several_gpus_get_a_process_each_for_cuda_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert runner._on_all_devices(Spread(), "cuda").engine == "processes"
    assert runner._on_all_devices(Spread(), "cuda:1").engine == "local"
    assert runner._on_all_devices(Spread(), "cpu").engine == "local"
    gpu = torch.device("cuda")
    assert spreading._devices(gpu, all_devices=True) == ["cuda:0", "cuda:1", "cuda:2"]
    assert spreading._devices(torch.device("cuda:1"), all_devices=False) == ["cuda:1"]


@pytest.mark.parametrize("protocol", ["memory://shards", "file://{}"])
def test_a_store_behind_a_url_keeps_shards_and_refuses_damaged_ones(tmp_path, protocol):
    url = protocol.format(tmp_path / "shards")
    store, frame = open_store(url, fresh=False), pd.DataFrame({"a": [1.5, 2.5]})
    assert isinstance(store, RemoteStore)
    store.save("abc", frame, [])
    assert store.has("abc")
    pd.testing.assert_frame_equal(store.load("abc")[0], frame)
    other = open_store(url, fresh=False)
    pd.testing.assert_frame_equal(other.load("abc")[0], frame)
    fresh = open_store(url, fresh=True)
    assert not fresh.has("abc")
    fresh.note(["abc"])
    assert fresh.load("abc") is not None
    name = other._file("abc")
    content = bytearray(other._system.cat_file(name))
    content[len(content) // 2] ^= 1
    other._system.pipe_file(name, bytes(content))
    assert other.load("abc") is None
    assert "1 damaged file of the store" in other.notices()[0]


def test_a_store_that_fails_for_a_while_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_PAUSES", (0.0, 0.0))
    store = open_store(f"file://{tmp_path / 'shards'}", fresh=False)
    write, failures = store._system.pipe_file, [OSError("503 slow down"), OSError("503 slow down")]

    def sometimes(*arguments):
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(store._system, "pipe_file", sometimes)
    store.save("abc", pd.DataFrame({"a": [1.0]}), [])
    assert store.load("abc") is not None
    failures += [OSError("read-only")] * 3
    with pytest.raises(UserError, match="cannot be written: read-only"):
        store.save("abd", pd.DataFrame({"a": [1.0]}), [])
    assert not store.has("abd")


def test_a_killed_command_leaves_no_worker_and_its_shards_are_used(failing, tmp_path, cli):
    file, place = failing
    file.write_text(file.read_text().replace("limit: 300", "limit: 1000"))
    (place / "slow").touch()
    options = ["--engine", "processes", "--workers", "2", "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "robustbench_aigen", "run", str(file), *options]
    marked = {**os.environ, "ROBUST_AIGEN_TEST": str(file)}
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked)
    while len(list((tmp_path / "out" / ".cache").rglob("*.parquet"))) < 2:
        assert driver.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    (place / "slow").unlink()
    deadline = time.monotonic() + 30
    while children_of(str(file)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not children_of(str(file))
    kept = len(list((tmp_path / "out" / ".cache").rglob("*.parquet")))
    assert kept >= 2
    outcome = cli("run", file, *options)
    assert outcome.code == 0, outcome.err
    assert len(records(tmp_path / "out")) == 2000


def children_of(file: str) -> list[str]:
    """Return the commands of processes that were started for a scenario and still run."""
    found = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"ROBUST_AIGEN_TEST={file}".encode() in each.read_bytes():
                found.append(each.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.sweep
def test_two_commands_on_one_store_give_equal_records(file, tmp_path, alone):
    code = "import sys; from robustbench_aigen import evaluation; evaluation.run(sys.argv[1], output=sys.argv[2], cache=sys.argv[3], engine='processes', workers=1)"
    commands = [
        [sys.executable, "-c", code, file, tmp_path / name, tmp_path / "store"] for name in ("one", "other")
    ]
    running = [subprocess.Popen(command) for command in commands]
    assert [each.wait() for each in running] == [0, 0]
    for name in ("one", "other"):
        pd.testing.assert_frame_equal(records(tmp_path / name), alone)


def test_an_unknown_store_is_refused_before_anything_is_computed(file, tmp_path, cli):
    outcome = cli("run", file, "--store", "s4://bucket", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "the store 's4://bucket' cannot be read" in outcome.err
    assert "s3fs" in outcome.err


def test_another_version_on_a_worker_is_refused(file, tmp_path, monkeypatch):
    keys = distribution.missing_jobs

    def changed(execution, shards):
        return [
            job._replace(keys=tuple(f"0{key[1:]}" for key in job.keys)) for job in keys(execution, shards)
        ]

    monkeypatch.setattr(spreading, "missing_jobs", changed)
    with pytest.raises(UserError, match="another version of the program"):
        evaluation.run(file, output=tmp_path / "out", engine="processes", workers=1)
