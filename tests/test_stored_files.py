"""Whatever is stored and read back: damage is found, nothing half-written stays, a full disk is said in a line."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import without_digests, write_image
from gated_runs import made_up, write
from training_data import write_recipe, write_splits

from robustbench_aigen import files
from robustbench_aigen.data.opening import open_data
from robustbench_aigen.digests import (
    DamagedFileError,
    digest_of_text,
    sealed,
    unsealed,
    with_digest,
    without_digest,
)
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.shards import Problem
from robustbench_aigen.engine.store import ShardCache
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import (
    atomic_file,
    atomic_folder,
    discard,
    remove_leftovers,
    sha256_of_file,
    write_atomically,
)
from robustbench_aigen.runs.folder import no_gallery, write_run
from robustbench_aigen.runs.results_folder import run_folder
from robustbench_aigen.runs.run import Run, find_runs
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.splits import split_source

pytestmark = pytest.mark.usefixtures("undrawn")

KEY = "ab" + "0" * 62
RECORDS = pd.DataFrame({"sample": ["a", "b"], "score": np.float32([0.25, 0.5]), "image": [None, b"png"]})
PROBLEMS = [Problem("c", "not an image")]


class Heard(Silent):
    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Damage


def cached(folder: Path) -> Path:
    ShardCache(folder, fresh=False).save(KEY, RECORDS, PROBLEMS)
    return folder / "ab" / f"{KEY}.parquet"


def test_a_shard_is_parquet_and_comes_back_as_it_was(tmp_path):
    file = cached(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(file), RECORDS)
    records, problems = ShardCache(tmp_path, fresh=False).load(KEY)
    pd.testing.assert_frame_equal(records, RECORDS)
    assert problems == PROBLEMS
    assert entries(tmp_path) == ["ab", f"ab/{KEY}.parquet"]


def test_no_flipped_bit_of_a_shard_gives_other_values(tmp_path):
    """Every byte of the file, one bit each."""
    file = cached(tmp_path)
    whole = file.read_bytes()
    cache = ShardCache(tmp_path, fresh=False)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        assert cache.load(KEY) is None, place
    assert "1 damaged file of the cache" in cache.notices()[0]
    assert str(file) in cache.notices()[0]


def foreign_table(file: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(file)


def edited_table(file: Path) -> None:
    pd.read_parquet(file).assign(score=np.float32(0.9)).to_parquet(file)


def other_shard(file: Path) -> None:
    cache, other = ShardCache(file.parents[1], fresh=False), "1" * 64
    cache.save(other, RECORDS.iloc[:1], [])
    shutil.move(cache._file(other), file)


def folder_in_place(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


def file_above(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_text("a file")


def endless_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


SPOILS = [
    foreign_table, edited_table, other_shard, folder_in_place, endless_pipe, link_to_itself,
    lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"PAR1"),
    lambda file: file.write_bytes(file.read_bytes()[:-100]),
    lambda file: file.write_bytes(file.read_bytes() + b"more"),
    lambda file: file.write_bytes(bytes(len(file.read_bytes()))),
]  # fmt: skip


@pytest.mark.parametrize("spoil", [*SPOILS, file_above])
def test_what_stands_in_place_of_a_shard_is_replaced(tmp_path, spoil):
    spoil(cached(tmp_path))
    cache = ShardCache(tmp_path, fresh=False)
    assert cache.load(KEY) is None
    assert len(cache.notices()) == (0 if spoil is file_above else 1)
    cache.save(KEY, RECORDS, PROBLEMS)
    again = ShardCache(tmp_path, fresh=False)
    pd.testing.assert_frame_equal(again.load(KEY)[0], RECORDS)
    assert again.notices() == []


def test_a_shard_that_may_not_be_read_is_computed_again(tmp_path, monkeypatch):
    file = cached(tmp_path)
    read = Path.read_bytes

    def refusing(path):
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    cache = ShardCache(tmp_path, fresh=False)
    assert cache.load(KEY) is None
    assert "Permission denied" in cache.notices()[0]


def test_damaged_shards_are_told_of_in_one_line(tmp_path):
    cache = ShardCache(tmp_path, fresh=False)
    keys = [f"{number:02x}" * 32 for number in range(5)]
    for key in keys:
        cache.save(key, RECORDS, [])
        next(tmp_path.glob(f"*/{key}.parquet")).write_bytes(b"")
        assert cache.load(key) is None
    (line,) = cache.notices()
    assert line.startswith("5 damaged files of the cache were computed again")


SCENARIO = """version: 1
name: small
data: {source: minigen, split: test, limit: 16}
detectors: [minigen/lenet5]
pipelines: {pgd: [{attack: pgd, eps: 1/255, steps: 2}]}
"""


def test_a_run_on_a_damaged_cache_has_the_same_numbers_and_says_so(tmp_path, cli):
    """Records and probe answers alike: every file of the cache is changed."""
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO)
    first = cli("run", file, "--output", tmp_path / "out")
    assert first.code == 0, first.err
    whole = Run.load(tmp_path / "out" / "small")
    shards = list((tmp_path / "out" / ".cache").glob("*/*.parquet"))
    for number, shard in enumerate(sorted(shards)):
        SPOILS[number % len(SPOILS)](shard)
    second = cli("run", file, "--output", tmp_path / "out")
    assert second.code == 0, second.err
    assert second.err.count("of the cache were computed again") == 1
    again = Run.load(tmp_path / "out" / "small")
    assert again.folder != whole.folder
    pd.testing.assert_frame_equal(again.records, whole.records)
    pd.testing.assert_frame_equal(again.summary, whole.summary)
    assert again.info.trust == whole.info.trust
    third = cli("run", file, "--output", tmp_path / "out")
    assert "of the cache" not in third.err


@pytest.fixture
def source(tmp_path):
    return open_data(DataSpec(source=str(write_splits(tmp_path / "data"))), Path())


def stored_images(folder: Path, source, heard=None) -> np.ndarray:
    indices = split_source(source, 0.25, None).train
    store = LevelStore(folder, source, indices, (32, 32), heard or Silent())
    return store.levels(store.rows(store.readable(indices))).numpy()


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("change", ["bit", "cut", "empty", "folder", "older", "pipe"])
def test_damaged_images_of_a_training_are_decoded_again(tmp_path, source, suffix, change):
    expected = stored_images(tmp_path / "store", source)
    (file,) = (tmp_path / "store").glob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    if change == "bit":
        content[-20] ^= 4
        file.write_bytes(content)
    elif change == "cut":
        file.write_bytes(content[:-200] if suffix == ".npy" else content[:-5])
    elif change == "empty":
        file.write_bytes(b"")
    elif change == "pipe":
        endless_pipe(file)
    elif change == "older":
        file.write_bytes(b"{}" if suffix == ".json" else b"\x93NUMPY\x01\x00")
    else:
        folder_in_place(file)
    heard = Heard()
    assert np.array_equal(stored_images(tmp_path / "store", source, heard), expected)
    assert len(heard.notices) == 1
    assert "decoded again" in heard.notices[0]
    heard = Heard()
    assert np.array_equal(stored_images(tmp_path / "store", source, heard), expected)
    assert heard.notices == []


@pytest.mark.parametrize("swap", [True, False])
def test_an_image_that_changes_before_it_is_decoded_ends_the_training(tmp_path, source, swap):
    """It was hashed first: what is decoded later has to be the very same bytes."""

    class Changing(Silent):
        def start(self, images):
            for file in (tmp_path / "data" / "train").rglob("*.png"):
                if swap:
                    write_image(file, 999, fake=True)
                else:
                    file.unlink()

    with pytest.raises(UserError, match=r"train/.*\.png .* since the run began"):
        stored_images(tmp_path / "store", source, Changing())
    assert entries(tmp_path / "store") == []


def test_an_image_that_was_readable_cannot_be_struck_off_the_list(tmp_path, source):
    expected = stored_images(tmp_path / "store", source)
    (file,) = (tmp_path / "store").glob("*.json")
    content = json.loads(file.read_text())
    content["unreadable"] = {"0": ["train/real/000.png", "not an image"]}
    file.write_text(json.dumps(content))
    heard = Heard()
    assert np.array_equal(stored_images(tmp_path / "store", source, heard), expected)
    assert "decoded again" in heard.notices[0]


def train(cli, folder: Path, *options: object):
    return cli(
        "train", folder / "tiny.yaml", "--data", folder / "data", "--output", folder / "out", "--device", "cpu",
        *options,
    )  # fmt: skip


@pytest.fixture
def trained(tmp_path, cli):
    """The folder of a finished training of one epoch."""
    write_splits(tmp_path / "data", train=8, test=4)
    write_recipe(tmp_path)
    outcome = train(cli, tmp_path, "--epochs", 1)
    assert outcome.code == 0, outcome.err
    return tmp_path / "out" / "tiny"


def test_a_damaged_training_is_done_again_with_the_same_weights(tmp_path, trained, cli):
    weights, metrics = trained / "tiny.safetensors", trained / "metrics.json"
    whole, said = weights.read_bytes(), json.loads(metrics.read_text())
    assert json.loads(metrics.read_text())["digests"]["tiny.safetensors"] == sha256(whole).hexdigest()
    for spoil in (
        lambda: weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])),
        lambda: metrics.write_text(metrics.read_text().replace('"accuracy": ', '"accuracy": 1')),
        lambda: folder_in_place(metrics),
        lambda: endless_pipe(metrics),
    ):
        spoil()
        outcome = train(cli, tmp_path, "--epochs", 1)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("; trained again") == 1
        assert weights.read_bytes() == whole
        again = json.loads(metrics.read_text())
        assert again["figures"] == said["figures"]


def test_an_edited_card_is_used_and_said(trained, weights, cli, tmp_path):
    from robustbench_aigen import load_detector

    card = trained / "tiny.json"
    content = json.loads(card.read_text())
    # Another layout and other line endings change no value.
    card.write_bytes(json.dumps(content, indent=4).replace("\n", "\r\n").encode())
    assert not [text for text in load_detector(trained / "tiny.safetensors").assumptions if "changed" in text]
    card.write_text(json.dumps({**content, "threshold": 0.9}))
    (said,) = [text for text in load_detector(trained / "tiny.safetensors").assumptions if "changed" in text]
    assert "tiny.json was changed after it was written" in said
    # A card by hand has no digests, and nothing is said of it.
    weights.with_suffix(".json").write_text('{"arch": "lenet5", "mean": [0, 0, 0], "std": [1, 1, 1]}')
    assert not [text for text in load_detector(weights).assumptions if "changed" in text]


def small_run(folder: Path) -> Path:
    """A run folder as the engine writes it, of made-up records."""
    right = np.tile([True, True, False, True], 10)
    run = made_up({("d", "clean"): right, ("d", "pgd"): ~right})
    old = Run.load(write(run, folder / "old"))
    new = folder / "made_up" / "run"
    new.mkdir(parents=True)
    write_run(new, run.info, run.records, old.summary, no_gallery())
    return new


def test_the_digests_of_a_run_are_those_of_its_files(tmp_path):
    folder = small_run(tmp_path)
    digests = json.loads((folder / "run.json").read_text())["digests"]
    for name in ("summary.csv", "records.parquet"):
        assert digests[name] == sha256((folder / name).read_bytes()).hexdigest()
    assert "digests" not in Run.load(folder).info.to_dict()
    assert not [name for name in entries(folder) if "partial" in name]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("summary.csv", b"0.5", b"0.6"),
        ("summary.csv", b"ok", b"no"),
        ("run.json", b'"seed": 1', b'"seed": 2'),
        ("run.json", b'"threshold": 0.5', b'"threshold": 0.4'),
        ("run.json", b'"made up"', b'"made-up"'),
        ("records.parquet", b"", b""),
    ],
)
def test_an_edited_run_is_refused_with_the_name_of_the_file(tmp_path, cli, name, old, new):
    folder = small_run(tmp_path)
    if name == "records.parquet":
        records = pd.read_parquet(folder / name)
        records.assign(correct=~records["correct"]).to_parquet(folder / name, index=False)
    else:
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new, 1))
    good = small_run(tmp_path / "good")
    outcome = cli("gate", folder, "--baseline", good)
    assert outcome.code == 2
    assert f"{name} was changed after" in outcome.err
    assert "run the scenario again" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    if name != "records.parquet":
        ((broken, error),) = find_runs(tmp_path).broken
        assert broken == folder
        assert name in str(error)


def test_line_endings_and_layout_of_a_committed_run_may_change(tmp_path):
    folder = small_run(tmp_path)
    whole = Run.load(folder)
    for name in ("summary.csv", "run.json"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    (folder / "run.json").write_text(
        json.dumps(json.loads((folder / "run.json").read_text()), sort_keys=True)
    )
    pd.testing.assert_frame_equal(Run.load(folder).summary, whole.summary)
    assert Run.load(folder).info == whole.info
    (folder / "records.parquet").unlink()
    assert Run.load(folder).overall()["n"].tolist() == whole.overall()["n"].tolist()


def test_runs_and_trainings_of_earlier_versions_open_without_complaint(tmp_path, trained, cli):
    folder = small_run(tmp_path)
    whole = Run.load(folder)
    without_digests(folder / "run.json")
    pd.testing.assert_frame_equal(Run.load(folder).records, whole.records)
    for name in ("metrics.json", "tiny.json"):
        without_digests(trained / name)
    outcome = train(cli, tmp_path, "--epochs", 1)
    assert outcome.code == 0
    assert "trained already" in outcome.err


def test_a_baseline_is_refused_when_a_number_changes_and_not_when_the_gate_does(tmp_path, cli):
    run = Run.load(small_run(tmp_path))
    folder = run.save_baseline(tmp_path / "kept")
    file = folder / "baseline.json"
    whole = json.loads(file.read_text())
    gate = {"metrics": ["accuracy"], "tolerance": 0.5}
    file.write_bytes(
        json.dumps({**whole, "scenario": {**whole["scenario"], "gate": gate}}, indent=2)
        .replace("\n", "\r\n")
        .encode()
    )
    assert Run.load(folder).info.scenario.gate == gate
    for changed in (
        {**whole, "seed": 7},
        {**whole, "detectors": [{**whole["detectors"][0], "threshold": 0.1}]},
        {**whole, "scenario": {**whole["scenario"], "mode": "score"}},
    ):
        file.write_text(json.dumps(changed))
        outcome = cli("gate", run.folder, "--baseline", folder)
        assert outcome.code == 2
        assert "baseline.json was changed after" in outcome.err
        assert "--update" in outcome.err
    without_digests(file, whole)
    assert Run.load(folder).info.seed == whole["seed"]


def test_digests_are_those_of_hashlib(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "f").write_bytes(content)
    assert sha256_of_file(tmp_path / "f") == sha256(content).hexdigest()
    assert digest_of_text(b"a\r\nb\n") == sha256(b"a\nb\n").hexdigest()
    stored = with_digest(content)
    assert stored.endswith(sha256(content).hexdigest().encode())
    assert without_digest(stored) == content
    assert without_digest(content) == content, "a file of an earlier version"
    with pytest.raises(DamagedFileError):
        without_digest(b"x" + stored[1:])
    text = '{"a":{"b":1},"c":[1.5,null],"digests":{"f":"0"}}'
    document = sealed({"c": (1.5, None), "a": {"b": 1}}, {"f": "0"})
    assert document["digests"] == {"values": sha256(text.encode()).hexdigest(), "f": "0"}
    assert unsealed(document, "d") == ({"a": {"b": 1}, "c": [1.5, None]}, {"f": "0"})
    with pytest.raises(DamagedFileError, match="d was changed"):
        unsealed({**document, "a": {"b": 2}}, "d")
    with pytest.raises(DamagedFileError, match="d was changed"):
        unsealed({**document, "digests": {**document["digests"], "f": "1"}}, "d")


def test_the_random_changes_of_the_benchmark_give_no_other_number(tmp_path):
    """A few of the hundreds that the benchmark makes; what is quick to read back."""
    from benchmarks.corruption import damage, make_stored

    rng = np.random.default_rng(0)
    for stored in make_stored(tmp_path):
        for _ in range({"cache": 1, "checkpoint": 2, "training": 2}.get(stored.name, 8)):
            damage(stored, rng)


# What is half-written


def test_a_file_is_whole_or_absent(tmp_path):
    file = tmp_path / "a" / "file"
    with pytest.raises(RuntimeError), atomic_file(file) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert entries(tmp_path) == ["a"]
    for content in (b"one", b"two"):
        with atomic_file(file) as stream:
            stream.write(content)
            assert not file.exists() or file.read_bytes() == b"one"
        assert file.read_bytes() == content
    assert entries(tmp_path) == ["a", "a/file"]


def test_a_folder_is_whole_or_absent(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(RuntimeError), atomic_folder(folder) as partial:
        (partial / "f").write_text("half")
        raise RuntimeError
    assert entries(tmp_path) == []
    with atomic_folder(folder) as partial:
        (partial / "f").write_text("one")
        assert not folder.exists()
    with pytest.raises(OSError, match="not empty"), atomic_folder(folder) as partial:
        (partial / "f").write_text("two")
    assert (folder / "f").read_text() == "one"
    with atomic_folder(folder, replace=True) as partial:
        (partial / "g").write_text("two")
    assert entries(tmp_path) == ["folder", "folder/g"]


def dead_process() -> int:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    machine, dead = files._machine(), dead_process()
    gone = [f".partial-{machine}-{dead}-00000000", ".partial-20250101-000000", ".partial-00000000-1-00000000"]
    kept = [
        f".partial-{machine}-{os.getpid()}-00000000", ".partial-00000000-1-11111111", ".partial-x", ".hidden", "file",
    ]  # fmt: skip
    for name in (*gone, *kept):
        (tmp_path / name).write_text("half")
    for name in gone[1:]:
        os.utime(tmp_path / name, (0, 0))
    folder = tmp_path / f".partial-{machine}-{dead}-22222222"
    (folder / "inside").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert entries(tmp_path) == sorted(kept)
    discard(tmp_path / "nowhere")


def test_a_folder_in_progress_elsewhere_stays_while_it_is_written_to(tmp_path):
    folder = tmp_path / ".partial-00000000-1-00000000"
    (folder / "deep").mkdir(parents=True)
    for path in (folder / "deep", folder):
        os.utime(path, (0, 0))
    (folder / "deep" / "file").write_text("just now")
    os.utime(folder / "deep", (0, 0))
    remove_leftovers(tmp_path)
    assert (folder / "deep" / "file").exists()


def test_writers_of_one_file_do_not_meet(tmp_path):
    file = tmp_path / "file"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    threads = [
        threading.Thread(target=lambda content=content: [write_atomically(file, content) for _ in range(20)])
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() in contents
    assert entries(tmp_path) == ["file"]


def test_a_folder_called_latest_is_kept_aside(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "notes").write_text("mine")
    with run_folder(tmp_path) as (run_id, folder):
        (folder / "run.json").write_text("{}")
    assert (tmp_path / "latest").resolve() == tmp_path / run_id
    assert (tmp_path / f"latest-until-{run_id}" / "notes").read_text() == "mine"


# A full disk


@contextmanager
def full_disk(monkeypatch, after: int):
    """Let so many bytes be written to unfinished files, and then none."""
    left = [after]
    fallocate, opened = os.posix_fallocate, Path.open

    class Stream:
        def __init__(self, stream):
            self._stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._stream.close()

        def __getattr__(self, name):
            return getattr(self._stream, name)

        def write(self, content):
            if len(content) > left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= len(content)
            return self._stream.write(content)

    def limited(path, mode="r", *arguments, **options):
        stream = opened(path, mode, *arguments, **options)
        return Stream(stream) if "x" in mode else stream

    def refused(descriptor, offset, length):
        if length > left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return fallocate(descriptor, offset, length)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", limited)
        patch.setattr(os, "posix_fallocate", refused)
        yield


def test_a_full_disk_ends_a_run_in_a_line_and_leaves_nothing_half_written(tmp_path, monkeypatch, cli):
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO)
    for after in (0, 30_000, 50_000):
        with full_disk(monkeypatch, after):
            outcome = cli("run", file, "--output", tmp_path / "out")
        assert outcome.code == 2, outcome.err
        assert "No space left on device" in outcome.err
        assert str(tmp_path / "out") in outcome.err
        assert "--output" in outcome.err
        left = entries(tmp_path / "out")
        assert not [name for name in left if "partial" in name]
        assert not [name for name in left if name.endswith(("run.json", "summary.csv"))]
    assert cli("run", file, "--output", tmp_path / "out").code == 0


def test_a_full_disk_ends_a_training_in_a_line(tmp_path, monkeypatch, cli):
    write_splits(tmp_path / "data", train=8, test=4)
    write_recipe(tmp_path)
    for after in (0, 100_000):
        with full_disk(monkeypatch, after):
            outcome = train(cli, tmp_path, "--epochs", 1)
        assert outcome.code == 2, outcome.err
        assert "No space left on device" in outcome.err
        assert "--output" in outcome.err
        assert not [name for name in entries(tmp_path / "out") if "partial" in name or name.endswith(".ckpt")]
    assert train(cli, tmp_path, "--epochs", 1).code == 0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot take space in advance")
def test_the_space_for_a_trainings_images_is_taken_before_any_is_decoded(tmp_path, source, monkeypatch):
    taken = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, first, length: taken.append((first, length)))
    levels = stored_images(tmp_path / "store", source)
    (file,) = (tmp_path / "store").glob("*.npy")
    assert taken == [(0, file.stat().st_size)]
    assert np.array_equal(np.load(file), levels)

    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert np.array_equal(stored_images(tmp_path / "elsewhere", source), levels)


def test_a_full_disk_leaves_nothing_of_a_copy(tmp_path, image_folder, monkeypatch, cli):
    for number in range(30):
        write_image(image_folder / "real" / f"more{number}.png", 200 + number, fake=False)
    write = Path.write_bytes
    written = []

    def full(path, content):
        written.append(path)
        if len(written) > 10:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = cli("data", "prepare", image_folder, tmp_path / "copy")
    assert outcome.code == 2, outcome.err
    assert "No space left on device" in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    assert not [name for name in entries(tmp_path) if "copy" in name or "partial" in name]


def test_errors_without_a_file_name_get_one(tmp_path):
    with (
        pytest.raises(UserError, match="No space left on device.*wanted") as caught,
        files.writing("this"),
        atomic_file(tmp_path / "wanted"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "free some space" in str(caught.value.hint)
