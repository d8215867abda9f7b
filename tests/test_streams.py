"""Standard output and standard error of any encoding, closed, full, or with nobody reading."""

import errno
import io
import json
import os
import sys
import threading

import numpy as np
import pytest
from test_engine import scenario

from robustbench_aigen.cli.console import is_live, print_json, say, say_notice, say_warnings
from robustbench_aigen.cli.streams import tolerant_streams, written
from robustbench_aigen.notices import Notice, about, warning

ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "utf-16", "utf-8"]


def strict(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_character_can_be_written(monkeypatch, encoding):
    out, err = strict(encoding), strict(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    everything = "".join(map(chr, range(0x20, 0x3000))) + "\udcff\ud800\U0001f600"
    with tolerant_streams():
        sys.stdout.write(everything)
        say(everything, err=True)
    assert out.buffer.getvalue()
    assert (
        "inf" in err.buffer.getvalue().decode(encoding) or encoding.startswith("utf") or encoding == "cp437"
    )


def test_other_characters_stand_in_place_of_missing_ones():
    assert written("10–20 × ∞ … → ≥ ─┼", "ascii") == "10-20 x inf ... -> >= -+"
    assert written("10–20 × ∞", "cp1252") == "10–20 × inf"
    assert written("naïve 検", "latin-1") == r"naïve \u691c"
    assert written("b\udcff\x1b[2J\u202e", "utf-8") == r"b\xff\x1b[2J\u202e"
    assert written("a–b", "no-such-encoding") == "a-b"
    assert written("é", None) == "é"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_run_ends_well_on_a_stream_that_is_not_utf_8(tmp_path, monkeypatch, encoding):
    from robustbench_aigen.cli import app

    out, err = strict(encoding), strict(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", data="{source: minigen, limit: 10}")
    arguments = ["run", str(file), "--output", str(tmp_path / "out–∞")]
    monkeypatch.setattr(sys, "argv", ["robust-aigen", *arguments])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    assert exit_.value.code == 0
    text = out.buffer.getvalue().decode(encoding)
    assert "95 % CI" in text
    assert "outinf" in text.replace("–", "").replace("-inf", "inf")
    assert (sys.stdout, sys.stderr) == (out, err)


def test_an_error_is_told_on_a_stream_that_is_not_utf_8(monkeypatch):
    from robustbench_aigen.cli import app

    err = strict("ascii")
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", ["robust-aigen", "run", "no–where\udce9"])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    assert exit_.value.code == 2
    assert err.buffer.getvalue().decode("ascii").startswith(r"error: no scenario 'no-where\xe9'")


def test_a_reader_that_has_gone_away_stops_nothing(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    with tolerant_streams():
        for _ in range(3):
            sys.stdout.write("x" * 100_000)
    stream.close()


def test_a_full_disk_is_an_error_and_is_told_once(monkeypatch):
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def fileno(self):
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Full())))
    with pytest.raises(OSError, match="No space"), tolerant_streams():
        sys.stdout.write("x")
        sys.stdout.flush()


def test_a_stream_that_was_closed_before_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with tolerant_streams():
        sys.stdout.write("x")
        say("y")


def test_json_is_ascii_and_has_no_number_that_json_has_not(capsys):
    print_json(
        {"a": float("nan"), "b": [float("inf"), np.float32(0.5), np.int64(3)], "c\udcff": "検", 1: None}
    )
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"a": None, "b": [None, 0.5, 3], "c\udcff": "検", "1": None}


@pytest.mark.parametrize(
    ("environment", "is_terminal", "expected"),
    [({}, True, True), ({}, False, False), ({"TERM": "dumb"}, True, False), ({"CI": "true"}, True, False),
     ({"CI": "false"}, True, True), ({"FORCE_COLOR": "1"}, False, False)],
)  # fmt: skip
def test_a_bar_is_drawn_only_where_lines_can_be_written_over(monkeypatch, environment, is_terminal, expected):
    for name in ("CI", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
    assert is_live(stream) is expected


@pytest.mark.parametrize(
    ("environment", "is_terminal", "coloured"),
    [({}, True, True), ({}, False, False), ({"NO_COLOR": "1"}, True, False), ({"FORCE_COLOR": "1"}, False, True),
     ({"TERM": "dumb"}, True, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False)],
)  # fmt: skip
def test_colours_are_where_they_are_wanted(monkeypatch, environment, is_terminal, coloured):
    for name in ("CI", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    say_notice(warning("odd"))
    text = stream.getvalue()
    assert "warning: odd" in text
    assert ("\x1b[" in text) is coloured


def test_warnings_are_told_from_information(capsys):
    notices = [
        Notice("32×32"),
        about("a.pt", warning("output 1 is assumed to mean fake")),
        "plain",
        "Warning: old",
    ]
    say_warnings([*notices, *notices])
    assert capsys.readouterr().out.splitlines() == [
        "warning: a.pt: output 1 is assumed to mean fake",
        "warning: old",
    ]


def test_a_notice_is_a_string_and_survives_storage():
    notice = about("ensemble", about("a.pt", warning("odd")))
    assert notice == "ensemble: a.pt: odd"
    again = Notice.stored(json.loads(json.dumps(notice.as_dict())))
    assert (again, again.level, again.subject) == (notice, "warning", "ensemble: a.pt")
    assert not Notice("a warning: in the middle").is_warning


def test_signals_are_left_alone_outside_of_the_main_thread():
    from robustbench_aigen.cli.stopping import stopping_on_signals

    failures = []

    def enter() -> None:
        try:
            with stopping_on_signals():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
