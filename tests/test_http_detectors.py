"""Detectors behind HTTP, on a real server on the loopback interface."""

import base64
import copy
import gzip
import html
import io
import json
import logging
import math
import os
import pickle
import random
import re
import shlex
import signal
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exception
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, write_image
from http_service import Service, checkerboard_score, serving
from PIL import Image

from robustbench_aigen import attacks, evaluate, load_detector
from robustbench_aigen.detectors.remote import transport
from robustbench_aigen.detectors.remote.credentials import Credentials
from robustbench_aigen.detectors.remote.network import services_of
from robustbench_aigen.detectors.remote.service import ServiceError
from robustbench_aigen.detectors.remote.store import FILE, AnswerStore
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.scenario import load_scenario

TOKEN = "tok-4711/secret+value"
SCORE = {"path": "result.score", "of": "fake"}


@pytest.fixture(scope="module")
def server():
    with serving(Service()) as service:
        yield service


@pytest.fixture
def service(server, monkeypatch):
    server.reset()
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    # No proxy of the machine stands between the tests and the loopback interface.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,::1")
    return server


def loaded(service, folder=None, path="/detect", **keys):
    keys = {"score": SCORE, "wait": 0.01, **keys}
    if folder is not None:
        keys["answers"] = str(folder)
    return load_detector(service.address + path, http=keys)


def pictures(count: int, side: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def expected(images: torch.Tensor) -> list[float]:
    return [checkerboard_score(image.permute(1, 2, 0).numpy()) for image in images]


# What is sent, and how the answer is read.


@pytest.mark.parametrize(
    ("keys", "kind", "name"),
    [
        ({}, "PNG", "image"),
        ({"image": "webp", "field": "upload", "fields": {"model": "v2", "n": 3}}, "WEBP", "upload"),
        ({"send": "json", "fields": {"model": "v2", "options": {"a": [1]}}}, "PNG", None),
        ({"send": "json", "field": "inputs[0].content", "data_url": True}, "PNG", None),
        ({"send": "raw", "method": "PUT"}, "PNG", None),
    ],
)
def test_the_server_receives_exactly_the_8_bit_image(service, tmp_path, keys, kind, name):
    images = pictures(3, 9)
    detector = loaded(service, tmp_path, headers={"X-Auth-Token": "${MY_TOKEN}"}, **keys)
    scores = detector.scores(images)
    assert scores.tolist() == pytest.approx(expected(images), abs=1e-6)
    received = {note["levels"].tobytes() for note in service.requests}
    assert received == {image.permute(1, 2, 0).numpy().tobytes() for image in images}
    note = service.requests[0]
    assert note["format"] == kind
    assert note["headers"]["x-auth-token"] == TOKEN
    assert note["method"] == keys.get("method", "POST")
    if name is not None:
        assert note["name"] == name
        assert note["type"] == f"image/{kind.lower()}"
    if keys.get("fields") and "json" not in note:
        assert note["fields"] == {"model": "v2", "n": "3"}
    if keys.get("data_url"):
        assert note["json"]["inputs"][0]["content"].startswith("data:image/png;base64,")
    elif "json" in note:
        assert note["json"].keys() == {"model", "options", "image"}


def test_jpeg_is_the_image_that_pillow_writes(service, tmp_path):
    images = pictures(1, 16)
    loaded(service, tmp_path, image={"format": "jpeg", "quality": 60}).scores(images)
    stream = io.BytesIO()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(stream, "jpeg", quality=60)
    assert (service.requests[0]["levels"] == np.asarray(Image.open(stream).convert("RGB"))).all()


@pytest.mark.parametrize(
    ("score", "answer", "probability"),
    [
        ({"path": "s", "of": "real"}, {"s": 0.2}, 0.8),
        ({"path": "s", "of": "fake", "scale": "percentage"}, {"s": "73.5 %"}, 0.735),
        ({"path": "s", "of": "fake", "scale": "logit"}, {"s": -1.5}, 1 / (1 + math.exp(1.5))),
        ({"path": "s", "of": "fake"}, {"s": "1e-2"}, 0.01),
        ({"path": "$", "of": "fake"}, 0.25, 0.25),
        ({"path": "data[-1]['é.ü']", "of": "fake"}, {"data": [1, {"é.ü": 0.3}]}, 0.3),
        (
            {"path": "[?@.label=='artificial'].score", "of": "fake"},
            [{"label": "human", "score": 0.9}, {"label": "artificial", "score": 0.1}],
            0.1,
        ),
        ({"path": "v", "fake": ["AI", "generated"], "real": "human"}, {"v": " Generated"}, 1.0),
        ({"path": "v", "fake": True, "real": False}, {"v": False}, 0.0),
    ],
)
def test_an_answer_is_read_as_described(service, tmp_path, score, answer, probability):
    service.answer = lambda _: answer
    assert float(loaded(service, tmp_path, score=score).scores(pictures(1))) == pytest.approx(
        probability, abs=1e-7
    )


def test_scores_that_float32_cannot_tell_from_1_keep_their_order(service, tmp_path):
    detector = loaded(service, tmp_path)
    found = []
    for number, probability in enumerate([0.0, 1e-30, 0.5, 1 - 1e-12, 1 - 1e-15, 1.0]):
        service.answer = lambda _, probability=probability: {"result": {"score": probability}}
        found.append(float(detector.log_odds(pictures(1, seed=number))))
    assert found == sorted(found)
    assert len(set(found)) == 6
    assert found[1] == pytest.approx(math.log(1e-30))


@pytest.mark.parametrize(
    ("score", "answer", "said"),
    [
        (SCORE, {"result": {"probability": 0.5}}, "$.result has no member 'score' (it has probability)"),
        (SCORE, {"result": {"score": 10**400}}, "not a probability"),
        (SCORE, {"result": {"score": 73}}, "is 73, outside a probability's range from 0 to 1"),
        (SCORE, {"result": {"score": None}}, "$.result.score is null, not a probability"),
        (SCORE, {"result": {"score": "73 %"}}, "is '73 %', not a probability"),
        (SCORE, {"result": {"score": True}}, "is True, not a probability"),
        (SCORE, [], "$ is a list, without a member 'result'"),
        ({"path": "v", "fake": ["AI"], "real": ["human"]}, {"v": "maybe"}, "is 'maybe', not a verdict"),
        ({"path": "v", "fake": [True], "real": [False]}, {"v": 1}, "is 1, not a verdict"),
        (
            {"path": "[?@.l=='f'].s", "of": "fake"},
            [{"l": "f"}, {"l": "f"}],
            "has 2 entries with l 'f', not 1",
        ),
    ],
)
def test_an_answer_that_is_not_what_was_described_is_shown(service, tmp_path, score, answer, said):
    service.answer = lambda _: answer
    with pytest.raises(UserError) as error:
        loaded(service, tmp_path, score=score).scores(pictures(1))
    assert said in error.value.message
    assert f"the answer begins {json.dumps(answer, ensure_ascii=False)}"[:60] in error.value.message
    assert error.value.key.startswith("http.score")
    assert service.total == 1


def test_an_answer_is_read_again_when_the_path_is_corrected(service, tmp_path):
    service.answer = lambda score: {"score": score, "heatmap": "x" * 20}
    with pytest.raises(UserError, match="no member 'result'"):
        loaded(service, tmp_path, concurrent=1).scores(pictures(1))
    assert loaded(service, tmp_path, score={"path": "score", "of": "fake"}).scores(
        pictures(1)
    ).tolist() == pytest.approx(expected(pictures(1)))
    assert service.total == 1


def test_of_a_long_answer_only_the_score_is_kept(service, tmp_path):
    service.answer = lambda score: {
        "maps": ["x" * 50_000],
        "all": [{"k": "other"}, {"k": "fake", "s": score}],
    }
    score = {"path": "all[?@.k=='fake'].s", "of": "fake"}
    first = loaded(service, tmp_path, score=score).scores(pictures(2))
    assert loaded(service, tmp_path, score=score).scores(pictures(2)).tolist() == first.tolist()
    assert service.total == 2
    assert (tmp_path / FILE).stat().st_size < 40_000


def test_a_wrong_description_costs_one_query(service, tmp_path):
    with pytest.raises(UserError, match="no member 'probability'"):
        loaded(service, tmp_path, score={"path": "probability", "of": "fake"}, concurrent=8).scores(
            pictures(8)
        )
    assert service.total == 1


def test_a_credential_inside_a_score_does_not_change_it(service, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "2345")
    service.answer = lambda _: {"result": {"score": "0.12345", "echo": "2345"}}
    keys = {"headers": {"X-Token": "${MY_TOKEN}"}}
    first = loaded(service, tmp_path, **keys).scores(pictures(1))
    assert loaded(service, tmp_path, **keys).scores(pictures(1)).tolist() == first.tolist()
    assert first.tolist() == pytest.approx([0.12345])
    assert service.total == 1


@pytest.mark.parametrize("rechecked", [False, True])
def test_no_part_of_a_credential_is_in_the_error_of_an_answer(service, tmp_path, rechecked, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "qwertyuiop-" * 8)
    headers = {"X-Token": "${MY_TOKEN}"}
    if rechecked:
        loaded(service, tmp_path, headers=headers).scores(pictures(1))
    service.answer = lambda _: {"result": {"score": f"bad {os.environ['MY_TOKEN']}"}}
    with pytest.raises(UserError, match=r"is 'bad \*\*\*', not a probability") as error:
        loaded(service, tmp_path, headers=headers, recheck=int(rechecked)).scores(pictures(1))
    assert "qwerty" not in str(error.value)


def test_escaped_forms_of_a_credential_are_masked():
    secret = "a&b/c+d=e\"f'g\\h<i>"
    credentials = Credentials({"A": secret})
    once = [
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        json.dumps(json.dumps(secret))[3:-3],
        repr(secret)[1:-1],
        html.escape(secret),
        quote(secret, safe=""),
        quote(secret),
        re.sub("%..", lambda each: each[0].lower(), quote(secret, safe="")),
        quote(quote(secret, safe=""), safe=""),
        "".join(f"\\u{ord(each):04X}" for each in secret),
        "".join(f"&#{ord(each)};" for each in secret),
        "".join(f"&#x{ord(each):X};" for each in secret),
        base64.b64encode(secret.encode()).decode(),
    ]
    assert [credentials.masked(f"x {each} y") for each in once] == ["x *** y"] * len(once)
    assert credentials.masked("a&b/c+d") == "a&b/c+d"


def test_a_credential_of_digits_is_masked_in_numbers(service, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "987654321")
    service.answer = lambda score: {"result": {"score": score}, "id": 987654321, "yes": True}
    loaded(service, tmp_path, headers={"X-Token": "${MY_TOKEN}"}).scores(pictures(1))
    rows = sqlite3.connect(tmp_path / FILE).execute("SELECT answer FROM answers").fetchall()
    assert json.loads(rows[0][0]) == {"result": {"score": pytest.approx(expected(pictures(1))[0])}, "id": "***", "yes": True}  # fmt: skip


# Bad descriptions.


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("id: https://x/y", 5, "an address needs 'http'"),
        ("id: https://x/y\n    http: {score: {path: s}}", 6, "must say which class the score means"),
        ("id: https://x/y\n    http:\n      score: {path: 'a..b', of: fake}", 7, "is not a path at '..b'"),
        ("id: https://x/y\n    http:\n      image: bmp\n      score: {path: s, of: fake}", 7, "must be 'png', 'webp' or 'jpeg'"),
        ("id: https://x/y\n    http:\n      image: jpeg\n      score: {path: s, of: fake}", 7, "jpeg needs a quality"),
        ("id: https://x/y\n    http:\n      headers: {Authorization: Bearer abc}\n      score: {path: s, of: fake}", 7, "'Authorization' is a credential"),
        ("id: https://x/y\n    http:\n      headers: {X: '${NOT_SET_HERE}'}\n      score: {path: s, of: fake}", 7, "the environment variable NOT_SET_HERE is not set"),
        ("id: https://x/y\n    http:\n      budget: {money: 5}\n      score: {path: s, of: fake}", 7, "'money' needs 'per_query'"),
        ("id: https://x/y\n    http:\n      score: {path: s, fake: [AI], real: [human, ' ai']}", 7, "'AI' is a word of both classes"),
        ("id: https://x/y\n    http:\n      fields: {image: abc}\n      score: {path: s, of: fake}", 6, "'image' is among the fields"),
        ("id: https://x/y?api_key=abc\n    http: {score: {path: s, of: fake}}", 5, "'api_key' is a credential"),
        ("id: https://me:pw@x/y\n    http: {score: {path: s, of: fake}}", 5, "holds a name or a password"),
        ("id: https://x/y\n    mean: [0, 0, 0]\n    http: {score: {path: s, of: fake}}", 6, "'mean' does not go with an address"),
        ("id: https://x/y\n    http: {score: {path: s, of: fake}, tiemout: 3}", 6, "unknown key 'tiemout'"),
        ("id: minigen/lenet5\n    http: {score: {path: s, of: fake}}", 5, "'name', 'wrap' and what it sees of an image"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_named_with_its_line(tmp_path, cli, text, line, said):
    file = tmp_path / "s.yaml"
    file.write_text(
        f"version: 1\nname: s\ndata: {{source: minigen}}\ndetectors:\n  - {text}\npipelines: {{}}\n"
    )
    outcome = cli("validate", file)
    assert outcome.code == 2
    assert f"s.yaml:{line}:" in outcome.err
    assert said in outcome.err
    assert outcome.err.count("s.yaml") == 1
    assert "abc" not in outcome.err.replace("abc'", "") or "Bearer" not in outcome.err
    assert ":pw" not in outcome.err


def test_a_bare_address_says_what_is_missing(cli, tmp_path):
    write_image(tmp_path / "a.png", 1, fake=True)
    outcome = cli("predict", tmp_path / "a.png", "--detector", "https://x/y")
    assert outcome.code == 2
    assert "an address needs 'http', the description of the service" in outcome.err
    assert "score: {path: score, of: fake}" in outcome.err


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"fields": {"api_key": 987654}}, "api_key"),
        ({"send": "json", "fields": {"login": {"pin": [987654.5]}}}, "pin"),
        ({"headers": {"Authorization": "Bearer 987654${MY_TOKEN}"}}, "Authorization"),
        ({"headers": {"Cookie": "session=${MY_TOKEN}; id=987654"}}, "Cookie"),
        ({"headers": {"X-Amz-Credential": "987"}}, "X-Amz-Credential"),
    ],
)
def test_a_literal_credential_is_refused_without_being_shown(service, keys, name):
    with pytest.raises(UserError, match=f"the value of '{name}' is a credential") as error:
        loaded(service, **keys)
    assert "987" not in str(error.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": {"Authorization": "Bearer ${MY_TOKEN}", "Cookie": "theme=a; session=${MY_TOKEN}"}},
        {"send": "json", "fields": {"pin_count": 987654, "token": True}},
    ],
)
def test_what_is_no_literal_credential_is_accepted(service, keys):
    assert loaded(service, **keys).differentiable is False


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("/y?code=987654", "'code' is a credential"),
        ("/y?x=1;api%5Fkey=987654", "'api_key' is a credential"),
        ("/y?x=1&pwd=987654${MY_TOKEN}", "'pwd' is a credential"),
        ("/y#api_key=987654", "'https://x/y' has a fragment"),
        ("/y?a=987654 b", "'https://x/y' is not an address such as"),
        (":987654/@b/y", "'https://…@b/y' is not an address: the host or the port is wrong"),
        (":987x/654@b/y", "port is wrong"),
        (":9${MY_TOKEN}876@b/y", "'https://…@b/y' holds a name or a password"),
    ],
)
def test_a_credential_in_an_address_is_refused_without_being_shown(service, rest, said):
    for more in ({}, {"arch": "resnet50"}):
        with pytest.raises(UserError, match=said) as error:
            load_detector({"id": f"https://x{rest}", "http": {"score": SCORE}, **more})
        assert "987" not in str(error.value)


def test_a_stored_answer_that_cannot_be_read_is_not_requested_again(service, tmp_path):
    service.answer = lambda _: {"score": "n/a"}
    with pytest.raises(UserError, match="; the answer begins") as error:
        loaded(service, tmp_path, score={"path": "score", "of": "fake"}).scores(pictures(1))
    assert "is not requested again" in error.value.hint
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"is 'n/a', not a probability, in the stored answer of 20"
        ) as error:
            loaded(service, tmp_path, score={"path": "score", "of": "fake"}).scores(pictures(1))
        assert "a new 'version:' sends every image again" in error.value.hint
    assert service.total == 1


def test_the_error_of_an_answer_that_is_not_kept_says_so(service, tmp_path):
    service.faults.append((200, {}, b"<html>"))
    with pytest.raises(UserError) as error:
        loaded(service, tmp_path).scores(pictures(1))
    assert "the answer is not kept, and the image is sent again" in error.value.hint


def test_a_long_answer_with_the_credential_in_its_score_is_read_again(service, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "2345")
    service.answer = lambda _: {"result": {"score": "0.12345", "map": "x" * 20_000}}
    for _ in range(2):
        found = loaded(service, tmp_path, headers={"X-Token": "${MY_TOKEN}"}).scores(pictures(1))
        assert found.tolist() == pytest.approx([0.12345])
    assert service.total == 1


@pytest.mark.parametrize("secret", [False, True])
def test_any_other_error_is_the_error_of_the_service(service, tmp_path, monkeypatch, secret):
    def fail(*_: object) -> None:
        raise RuntimeError(f"broken {TOKEN if secret else ''}")

    detector = loaded(service, tmp_path, headers={"X-Token": "${MY_TOKEN}"})
    monkeypatch.setattr("robustbench_aigen.detectors.remote.service.encoded", fail)
    with pytest.raises(ServiceError, match="cannot be queried: RuntimeError: broken") as error:
        services_of(detector)[0].log_odds(list(pictures(1)))
    chain = "".join(format_exception(error.value))
    assert TOKEN not in chain
    assert ("in fail" in chain) is not secret


def test_an_error_of_the_stored_answers_is_the_error_of_the_service(service, tmp_path):
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(ServiceError, match="the stored answers cannot be used"):
        services_of(loaded(service, tmp_path))[0].log_odds(list(pictures(1)))


def test_a_request_that_cannot_be_made_is_not_counted(service, tmp_path):
    found = services_of(loaded(service, tmp_path, timeout=1e300))[0]
    with pytest.raises(ServiceError, match="does not answer: OverflowError"):
        found.log_odds(list(pictures(1)))
    assert found.queries == (0, 0, 0)
    assert (found.usage.sent, service.total) == (0, 0)


def test_a_credential_that_is_too_short_to_be_masked_is_refused(service, monkeypatch):
    monkeypatch.setenv("SHORT", "987")
    for keys in (
        {"headers": {"X-Token": "${SHORT}"}},
        {"fields": {"api_key": "${SHORT}"}},
        {"path": "/d?key=${SHORT}"},
    ):
        with pytest.raises(UserError, match="SHORT has fewer than 4 characters") as error:
            loaded(service, **keys)
        assert "987" not in str(error.value)
    assert loaded(service, fields={"model": "${SHORT}"}).scores(pictures(1)).tolist() == pytest.approx(
        expected(pictures(1))
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"fields": {"model": "${MODEL}"}},
        {"send": "json", "fields": {"options": {"models": ["${MODEL}"]}}},
        {"headers": {"X-Model": "${MODEL}"}},
        {"path": "/detect?model=${MODEL}"},
        {"path": "/${MODEL}/detect"},
    ],
)
def test_answers_belong_to_the_value_of_a_variable_that_is_a_setting(service, tmp_path, monkeypatch, keys):
    for count, value in enumerate(("v1", "v2"), start=1):
        monkeypatch.setenv("MODEL", value)
        first, second = loaded(service, tmp_path, **keys), loaded(service, tmp_path, **keys)
        assert first.identity() == second.identity()
        first.scores(pictures(1))
        second.scores(pictures(1))
        assert service.total == count
    packed = pickle.dumps(first)
    monkeypatch.setenv("MODEL", "v1")
    pickle.loads(packed).scores(pictures(1))
    assert service.total == 2


# Faults.


@pytest.mark.parametrize(
    "fault",
    [408, 429, 500, 503, (429, {"Retry-After": "0"}), "cut"],
)
def test_a_passing_fault_is_repeated_and_each_request_counts(service, tmp_path, fault):
    service.faults.extend([fault, fault])
    detector = loaded(service, tmp_path, concurrent=1, retries=2)
    assert detector.scores(pictures(1)).tolist() == pytest.approx(expected(pictures(1)))
    (found,) = services_of(detector)
    assert found.queries == (3, 1, 2)
    assert service.total == 3


def test_after_the_last_request_the_last_answer_is_shown(service, tmp_path):
    service.faults.extend([503] * 3)
    with pytest.raises(UserError, match=r'does not answer: HTTP 503 .*\{"error": "no"\}, after 3 requests'):
        loaded(service, tmp_path, retries=2).scores(pictures(1))
    assert service.total == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_other_errors_are_not_repeated(service, tmp_path, status):
    service.faults.append((status, {}, f'{{"error": "no {TOKEN} here"}}'.encode()))
    with pytest.raises(UserError) as error:
        loaded(service, tmp_path, headers={"Authorization": "Bearer ${MY_TOKEN}"}).scores(pictures(1))
    assert f"HTTP {status}" in error.value.message
    assert "no *** here" in error.value.message
    assert TOKEN not in str(error.value)
    assert service.total == 1


def test_a_redirection_is_not_followed(service, tmp_path):
    service.faults.append((307, {"Location": f"{service.address}/other?key={TOKEN}"}))
    with pytest.raises(UserError, match="a redirection to .*/other.* that is not followed") as error:
        loaded(service, tmp_path, headers={"Authorization": "Bearer ${MY_TOKEN}"}).scores(pictures(1))
    assert TOKEN not in str(error.value)
    assert service.total == 1


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {}])
def test_too_many_requests_pause_every_thread(service, tmp_path, headers):
    detector = loaded(service, tmp_path, concurrent=2, wait=1)
    detector.scores(pictures(1, seed=1))
    service.times.clear()
    service.faults.append((429, headers))
    assert len(detector.scores(pictures(12))) == 12
    first, *rest = sorted(service.times)
    # The other thread sends a few until the answer is read; without a pause it would send all.
    assert sum(when - first < 0.9 for when in rest) <= 5


def test_a_date_as_retry_after_is_read_and_a_long_one_stops(service, tmp_path):
    later = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    service.faults.append((503, {"Retry-After": later}))
    with pytest.raises(
        UserError, match=r"answers HTTP 503 with Retry-After 7\d\d\d s, longer than longest_wait"
    ):
        loaded(service, tmp_path).scores(pictures(1))
    assert service.total == 1


@pytest.mark.parametrize("fault", [0.6, "drip"])
def test_a_slow_answer_is_given_up_and_repeated(service, tmp_path, fault):
    service.faults.append(fault)
    detector = loaded(service, tmp_path, timeout=0.3)
    assert detector.scores(pictures(1)).tolist() == pytest.approx(expected(pictures(1)))
    assert services_of(detector)[0].queries == (2, 1, 1)


@pytest.mark.parametrize(
    "body", [b"<html>Busy</html>", b"", b'{"result": {"score": NaN}}', b"\xff\xfe", b"[" * 5000]
)
def test_an_answer_that_is_not_json_is_shown(service, tmp_path, body):
    service.faults.append((200, {}, body))
    with pytest.raises(UserError, match="the answer is not JSON; the answer begins"):
        loaded(service, tmp_path).scores(pictures(1))
    assert services_of(loaded(service, tmp_path))[0].queries == (1, 0, 1)


def test_a_compressed_answer_is_read(service, tmp_path):
    body = gzip.compress(b'{"result": {"score": 0.125}}')
    service.faults.append((200, {"Content-Encoding": "gzip"}, body))
    assert loaded(service, tmp_path).scores(pictures(1)).tolist() == [0.125]


def test_a_hostile_answer_reaches_neither_the_terminal_nor_the_store_unescaped(service, tmp_path):
    body = b'{"result": {"score": 0.5, "\\u001b[2J": "\\ud800", "x": "' + b"y" * 900 + b'"}}'
    service.faults.append((200, {}, body))
    assert loaded(service, tmp_path).scores(pictures(1)).tolist() == [0.5]
    service.faults.append((200, {}, b'{"\\u001b[2J\\ud800": 1}'))
    with pytest.raises(UserError) as error:
        loaded(service, tmp_path, score={"path": "a", "of": "fake"}).scores(pictures(1, seed=2))
    assert "(it has ·[2J·)" in error.value.message
    assert error.value.message.isprintable()


def test_threads_of_the_user_do_not_send_an_image_twice(service, tmp_path):
    detector = loaded(service, tmp_path)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: detector.scores(pictures(4)).tolist(), range(3)))
    assert found[0] == found[1] == found[2]
    assert service.total == 4


def test_damaged_compression_is_repeated(service, tmp_path):
    service.faults.append((200, {"Content-Encoding": "gzip"}, b"not gzip at all"))
    assert len(loaded(service, tmp_path).scores(pictures(1))) == 1


def test_a_refused_connection_costs_no_query(service, tmp_path):
    detector = load_detector(
        "http://127.0.0.1:9/detect",
        http={"score": SCORE, "wait": 0.01, "retries": 2, "answers": str(tmp_path)},
    )
    with pytest.raises(UserError, match="does not answer: no connection: .*refused.*, after 3 requests"):
        detector.scores(pictures(1))
    assert services_of(detector)[0].queries == (0, 0, 0)
    assert services_of(detector)[0].usage[:2] == (0, 0)


# Rate and concurrency.


def test_concurrent_requests_stay_within_their_number_and_use_it(service, tmp_path):
    detector = loaded(service, tmp_path, concurrent=3)
    service.delay, service.together = 0.1, 3
    detector.scores(pictures(6))
    assert service.most_at_once == 3


def test_requests_stay_within_the_rate(service, tmp_path):
    began = time.monotonic()
    loaded(service, tmp_path, concurrent=8, rate=20).scores(pictures(9))
    assert time.monotonic() - began >= 8 / 20
    # Requests arrive later than they are sent, by what the machine has else to do.
    assert max(service.times) - min(service.times) >= 4 / 20


def test_answers_belong_to_their_images_when_they_arrive_out_of_order(service, tmp_path):
    service.faults.extend([0.3, 0.01, 0.2, 0.01])
    images = pictures(4)
    assert loaded(service, tmp_path, concurrent=4).scores(images).tolist() == pytest.approx(expected(images))


def test_images_of_several_sizes_and_equal_images(service, tmp_path):
    images = [pictures(1, 8)[0], pictures(1, 12)[0], pictures(1, 8)[0], pictures(1, 5)[0].repeat(1, 1, 2)]
    found = loaded(service, tmp_path).scores(images)
    assert found.tolist() == pytest.approx([expected(image[None])[0] for image in images])
    assert service.total == 3


# Budget.


def test_the_budget_is_never_exceeded(service, tmp_path):
    detector = loaded(service, tmp_path, budget={"queries": 5}, concurrent=4)
    with pytest.raises(UserError, match="budget of detector .* is used up: 5 queries of 5 sent"):
        detector.scores(pictures(12))
    assert service.total == 5
    assert services_of(detector)[0].queries == (5, 5, 0)
    # All that was answered is kept; a larger budget continues, and asks nothing twice.
    larger = loaded(service, tmp_path, budget={"queries": 12}, concurrent=4)
    assert larger.scores(pictures(12)).tolist() == pytest.approx(expected(pictures(12)))
    assert max(service.asked.values()) == 1
    assert service.total == 12


def test_repeated_requests_count_for_the_budget(service, tmp_path):
    service.faults.extend([500] * 10)
    with pytest.raises(UserError, match="is used up: 3 queries of 3 sent"):
        loaded(service, tmp_path, budget={"queries": 3}).scores(pictures(1))
    assert service.total == 3


def test_money_is_counted_in_decimals(service, tmp_path):
    # In binary floating point 0.3 / 0.1 is below 3.
    budget = {"money": 0.3, "per_query": 0.1, "currency": "EUR"}
    with pytest.raises(UserError, match=r"3 queries of 3 sent for 0\.3 EUR"):
        loaded(service, tmp_path, budget=budget).scores(pictures(4))
    assert service.total == 3


def _reserve_in_a_process(file: Path) -> int:
    store = AnswerStore(file)
    return sum(store.reserve("a", 100) for _ in range(60))


def test_no_number_of_threads_and_processes_reserves_more_than_the_budget(tmp_path):
    file = tmp_path / FILE
    with get_context("fork").Pool(2) as pool:
        in_processes = pool.map_async(_reserve_in_a_process, [file, file])
        store = AnswerStore(file)
        with ThreadPoolExecutor(3) as threads:
            in_threads = list(
                threads.map(lambda _: sum(store.reserve("a", 100) for _ in range(20)), range(3))
            )
        counts = [*in_processes.get(60), *in_threads]
    assert sum(counts) == 100
    assert store.queries("a").sent == 100


def _error_of(call) -> str:
    try:
        return f"no error: {call()}"
    except UserError as error:
        return error.message


def _errors_in_a_fork(sending, store: AnswerStore) -> None:
    sending.send([_error_of(lambda: store.reserve("a", 1)), _error_of(lambda: AnswerStore(store.file))])


def test_a_forked_process_does_not_use_the_connection_of_its_parent(tmp_path):
    store = AnswerStore(tmp_path / FILE)
    receiving, sending = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_errors_in_a_fork, args=(sending, store))
    process.start()
    assert receiving.recv() == ["the stored answers were opened before this process was forked"] * 2
    process.join()
    assert store.reserve("a", 1)


# Runs.


def scenario(folder: Path, service, *, images=4, steps=6, name="s", extra="", http="") -> Path:
    data = folder / "images"
    if not data.is_dir():
        for number in range(images // 2):
            write_image(data / "real" / f"{number}.png", number, fake=False, size=(16, 16))
            write_image(data / "fake" / f"{number}.png", 100 + number, fake=True, size=(16, 16))
    file = folder / f"{name}.yaml"
    file.write_text(
        f"""version: 1
name: {name}
data: {{source: images, split: all}}
detectors:
  - id: {service.address}/detect?key=${{MY_TOKEN}}
    name: service
    http:
      headers: {{Authorization: "Bearer ${{MY_TOKEN}}"}}
      score: {{path: result.score, of: fake}}
      wait: 0.01
{http}
pipelines:
  square: [{{attack: square, eps: 24/255, steps: {steps}}}]
{extra}
"""
    )
    return file


def test_a_run_counts_its_queries_and_is_repeated_from_the_stored_answers(service, tmp_path):
    extra = "  simba: [{attack: simba, norm: l2, eps: 1, steps: 5}]\n  jpeg: [{perturb: jpeg, quality: 50}]"
    table = load_scenario(scenario(tmp_path, service, extra=extra)).experiment().estimate()
    assert service.total == 0
    result = run(load_scenario(tmp_path / "s.yaml"), output=tmp_path / "out")
    assert max(service.asked.values()) == 1
    assert service.total <= table["queries"].sum()
    assert result.accuracy("clean") == 1
    records = result.records.set_index(["pipeline", "sample"])
    assert records.loc["square", "queries"].between(1, 6).all()
    assert records.loc["simba", "queries"].between(1, 5).all()
    notices = " ".join(result.notices)
    assert f"{service.total} queries sent" in notices
    assert f"at most {table['queries'].sum()} queries" in notices
    assert "output check and the trust probes are left out" in notices
    unchecked = {flag for left in result.info.trust.unchecked for flag in left.flags}
    assert {"stochastic_output", "depends_on_batch"} <= unchecked
    # Without the finished shards, the same records come from the stored answers alone.
    asked = service.total
    for file in (tmp_path / "out" / ".cache").rglob("*.parquet"):
        file.unlink()
    again = run(load_scenario(tmp_path / "s.yaml"), output=tmp_path / "out")
    assert again.records.equals(result.records)
    assert service.total == asked


def test_attacks_on_verdicts_work_on_a_verdict(service, tmp_path):
    service.answer = lambda score: {"result": {"score": "AI" if score > 0.5 else "human"}}
    detector = loaded(service, tmp_path, score={"path": "result.score", "fake": "AI", "real": "human"})
    images = [tmp_path / "fake.png", tmp_path / "real.png"]
    for number, file in enumerate(images):
        write_image(file, number, fake=number == 0, size=(8, 8))
    assert detector.predict(images).tolist() == [1, 0]
    found = attacks.hopskipjump(norm="l2", eps=3, steps=1, evaluations=4)(detector, images, [1, 0])
    assert (found.queries >= 4).all()
    assert max(service.asked.values()) == 1


def test_attacks_in_python_and_transfer_query_the_service(service, tmp_path):
    detector, images = loaded(service, tmp_path), pictures(3, 32)
    labels = detector.predict(images)
    asked = service.total
    found = attacks.square(eps=8 / 255, steps=5)(detector, images, labels)
    assert found.queries.tolist() == [5, 5, 5]
    assert service.total - asked <= 15
    asked = service.total
    found = attacks.transfer(surrogate="minigen/lenet5", eps=8 / 255, steps=2)(detector, images, labels)
    # The attacked image alone, and its version before rounding to 8 bits.
    assert 3 <= service.total - asked <= 6
    assert found.score.tolist() == pytest.approx(expected((found.images * 255).round().byte()), abs=1e-6)


def test_an_ensemble_asks_each_of_its_services_once(service, tmp_path):
    members = [
        {"id": f"{service.address}/{name}", "http": {"score": SCORE, "answers": str(tmp_path)}}
        for name in "ab"
    ]
    ensemble = load_detector({"ensemble": [*members, "minigen/lenet5"], "by": "mean_score"})
    images = pictures(2, 32)
    local = load_detector("minigen/lenet5").scores(images)
    mean = (2 * torch.tensor(expected(images)) + local) / 3
    assert ensemble.scores(images).tolist() == pytest.approx(mean.tolist(), abs=1e-5)
    assert not ensemble.differentiable
    assert sorted(note["path"] for note in service.requests) == ["/a", "/a", "/b", "/b"]


def test_two_services_of_one_run_keep_their_own_answers(service, tmp_path):
    two = [load_detector(f"{service.address}/{name}", http={"score": {"path": "result.score", "of": of}})
           for name, of in (("a", "fake"), ("b", "real"))]  # fmt: skip
    done = evaluate(two, (pictures(4, 16), [0, 1, 0, 1]), output=tmp_path / "out")
    first, second = (rows["log_odds"].to_numpy() for _, rows in done.records.groupby("detector"))
    assert first == pytest.approx(-second)
    assert service.total == 8
    assert done.gate(done).passed


def test_fresh_asks_again_and_a_run_after_it_uses_the_newest_answers(service, tmp_path):
    detector = loaded(service)
    data = (pictures(4, 16), [0, 1, 0, 1])
    evaluate(detector, data, output=tmp_path)
    service.answer = lambda _: {"result": {"score": 0.75}}
    assert evaluate(detector, data, output=tmp_path).records["score"].max() != 0.75
    assert service.total == 4
    assert (evaluate(detector, data, output=tmp_path, fresh=True).records["score"] == 0.75).all()
    assert (evaluate(detector, data, output=tmp_path).records["score"] == 0.75).all()
    assert service.total == 8


def test_answers_before_a_run_are_used_and_count(service, tmp_path):
    detector, images = loaded(service, path="/before", budget={"queries": 5}), pictures(4, 16)
    detector.scores(images)
    evaluate(detector, (images, [0, 1, 0, 1]), output=tmp_path)
    assert service.total == 4
    with pytest.raises(UserError, match="5 queries of 5 sent"):
        evaluate(detector, (pictures(6, 16, seed=3), [0, 1] * 3), output=tmp_path)
    assert service.total == 5


def test_a_recheck_finds_a_changed_service(service, tmp_path):
    loaded(service, tmp_path).scores(pictures(3))
    loaded(service, tmp_path, recheck=2).scores(pictures(3))
    assert service.total == 5
    service.answer = lambda score: {"result": {"score": score / 2}}
    with pytest.raises(UserError, match="has changed: log-odds .* for an image that had"):
        loaded(service, tmp_path, recheck=1).scores(pictures(3))
    # The earlier answer stays, so that the next check finds the change as well.
    with pytest.raises(UserError, match="has changed"):
        loaded(service, tmp_path, recheck=1).scores(pictures(3))
    assert service.total == 7


def test_predict_uses_a_file_with_the_description(service, tmp_path, cli):
    for number in range(3):
        write_image(tmp_path / "images" / f"{number}.png", number, fake=number == 1)
    (tmp_path / "card.yaml").write_text(
        f"id: {service.address}/detect\nname: card\nhttp: {{score: {{path: result.score, of: fake}}, answers: kept}}\n"
    )
    outcome = cli("predict", tmp_path / "images", "--detector", tmp_path / "card.yaml", "--json")
    assert outcome.code == 0, outcome.err
    found = {Path(row["image"]).name: row["score"] for row in json.loads(outcome.out)["predictions"]}
    for name, score in found.items():
        levels = np.asarray(Image.open(tmp_path / "images" / name))
        assert score == pytest.approx(checkerboard_score(levels), abs=1e-6)
    assert service.total == 3
    assert "3 queries sent" in outcome.err
    assert (tmp_path / "kept" / FILE).is_file()
    outcome = cli("predict", tmp_path / "images", "--detector", tmp_path / "card.yaml")
    assert "0 queries sent; 3 answers from the store" in outcome.err
    (tmp_path / "card.yaml").write_text("id: minigen/lenet5\n")
    outcome = cli("predict", tmp_path / "images", "--detector", tmp_path / "card.yaml")
    assert "card.yaml: not the description of a service" in outcome.err


def test_ipv6(service):
    try:
        with serving(Service(), "::1") as six:
            assert load_detector(six.address, http={"score": SCORE}).scores(pictures(1)) == pytest.approx(
                expected(pictures(1))
            )
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_a_proxy_of_the_environment_is_named_without_its_password(service, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://me:pass-word@127.0.0.1:9")
    with pytest.raises(UserError, match="through the proxy of HTTP_PROXY") as error:
        loaded(service, retries=0).scores(pictures(1))
    assert "pass-word" not in str(error.value)
    assert service.total == 0


def test_a_pickled_detector_has_no_credential_and_a_copy_no_second_budget(service, tmp_path):
    detector = loaded(service, tmp_path, headers={"Authorization": "Bearer ${MY_TOKEN}"})
    packed = pickle.dumps(detector)
    assert TOKEN.encode() not in packed
    assert pickle.loads(packed).scores(pictures(1)).tolist() == pytest.approx(expected(pictures(1)))
    assert services_of(copy.deepcopy(detector)) == services_of(detector)


def test_a_function_that_returns_a_service_sends_nothing_when_it_is_loaded(service, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from robustbench_aigen import load_detector\n"
        "def build():\n"
        f"    return load_detector({service.address!r}, http={{'score': {SCORE}, 'headers': {{'X-Token': '${{MY_TOKEN}}'}}}})\n"
    )
    detector = load_detector(f"python:{tmp_path / 'mine.py'}:build")
    identity = detector.identity()
    assert service.total == 0
    done = evaluate(detector, (pictures(4, 16), [0, 1, 0, 1]), output=tmp_path / "out")
    assert done.records["score"].tolist() == pytest.approx(expected(pictures(4, 16)), abs=1e-6)
    assert service.total == 4
    monkeypatch.setenv("MY_TOKEN", "another-token")
    assert load_detector(f"python:{tmp_path / 'mine.py'}:build").identity() == identity


def test_damaged_stored_answers_are_named(service, tmp_path):
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(UserError, match="the stored answers cannot be used") as error:
        loaded(service, tmp_path).scores(pictures(1))
    assert error.value.file == tmp_path / FILE
    assert service.total == 0


# The example of docs/DETECTORS.md.


def test_the_example_of_the_document_runs(tmp_path, cli, monkeypatch):
    text = (REPOSITORY / "docs" / "DETECTORS.md").read_text(encoding="utf-8")
    section = text.partition("## Detectors behind HTTP")[2].partition("\n## ")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    found = re.findall(r"^```(\w+)\n(.*?)^```$", section.replace("8000", port), re.MULTILINE | re.DOTALL)
    blocks = {kind: [code for each, code in found if each == kind] for kind, _ in found}
    (server, client), (scenario_, card) = blocks["python"], blocks["yaml"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Path("my_service.yaml").write_text(scenario_)
    Path("service.yaml").write_text(card)
    for number in range(2):
        write_image(tmp_path / "my_images" / "real" / f"0{number}.png", number, fake=False)
        write_image(tmp_path / "my_images" / "fake" / f"0{number}.png", 100 + number, fake=True)
    names = {"__name__": "service"}
    quiet = "\nService.log_message = lambda *_: None\n"
    code = server.replace("\n\nThreadingHTTPServer", f"{quiet}\nThreadingHTTPServer")
    threading.Thread(target=exec, args=(code, names), daemon=True).start()
    until = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", int(port))):
        assert time.monotonic() < until
        time.sleep(0.05)
    (commands,) = blocks["console"]
    for line in commands.splitlines():
        outcome = cli(*shlex.split(line)[2:])
        assert outcome.code == 0, (line, outcome.err)
    records = pd.read_parquet(next(Path("results/my_service").glob("2*/records.parquet")))
    clean = records[records["pipeline"] == "clean"]
    local = load_detector("minigen/lenet5").scores([Path("my_images") / name for name in clean["sample"]])
    # Sums in batches of other sizes.
    assert clean["score"].tolist() == pytest.approx(local.tolist(), abs=1e-4)
    exec(client, {})
    assert Path("my_answers", FILE).is_file()


def everything(folder: Path) -> bytes:
    return b"".join(
        file.read_bytes() for file in folder.rglob("*") if file.is_file() and not file.is_symlink()
    )


def test_no_credential_is_in_any_file_message_log_or_identity(service, tmp_path, cli, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    forms = [TOKEN, base64.b64encode(TOKEN.encode()).decode(), "tok-4711%2Fsecret%2Bvalue", "tok-4711"]
    # A server that returns what it was sent.
    service.answer = lambda score: {"result": {"score": score}, "echo": f"Bearer {TOKEN}", TOKEN: [forms[2]]}
    service.headers = {"X-Echo": TOKEN}
    scenario(tmp_path, service)
    outcomes = [cli("run", tmp_path / "s.yaml", "--output", tmp_path / "out")]
    outcomes.append(cli("run", tmp_path / "s.yaml", "--output", tmp_path / "out", "--dry-run", "--json"))
    assert [each.code for each in outcomes] == [0, 0]
    for status in (401, 418):
        service.faults.append((status, {"X-Echo": TOKEN}, f"who is {TOKEN} or {forms[1]}?".encode()))
        (tmp_path / "s.yaml").write_text(
            (tmp_path / "s.yaml").read_text().replace("eps: 24", f"eps: {status - 400}")
        )
        outcomes.append(cli("--debug", "run", tmp_path / "s.yaml", "--output", tmp_path / "out"))
        assert outcomes[-1].code == 2
        assert "who is *** or ***?" in outcomes[-1].err
        assert "Traceback" in outcomes[-1].err
    assert service.requests[0]["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert service.requests[0]["query"] == f"key={forms[2]}"
    texts = [each.out + each.err for each in outcomes] + [caplog.text]
    assert "HTTP Request" in caplog.text
    (tmp_path / "s.yaml").unlink()
    content = everything(tmp_path)
    assert b"${MY_TOKEN}" in content
    for form in forms:
        assert form.encode() not in content
        assert not any(form in text for text in texts)
    assert not any(form in repr(vars(transport)) for form in forms)


def test_a_new_token_changes_neither_identity_nor_answers(service, tmp_path, monkeypatch):
    keys = {"headers": {"Authorization": "Bearer ${MY_TOKEN}"}}
    first = loaded(service, tmp_path, **keys)
    first.scores(pictures(2))
    monkeypatch.setenv("MY_TOKEN", "another-token")
    monkeypatch.setenv("OTHER", "third-token")
    second = loaded(service, tmp_path, headers={"Authorization": "Bearer ${OTHER}"})
    second.scores(pictures(2))
    assert first.identity() == second.identity()
    assert service.total == 2
    versioned = loaded(service, tmp_path, version="2", **keys)
    versioned.scores(pictures(2))
    assert versioned.identity() != first.identity()
    assert service.total == 4


def test_the_budget_of_a_run_ends_it_in_one_line_and_a_larger_one_continues(service, tmp_path, cli):
    file = scenario(tmp_path, service, http="      budget: {queries: 9}")
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "s.yaml:11: http.budget" in outcome.err.replace("detectors[0].", "")
    assert "is used up: 9 queries of 9 sent" in outcome.err
    assert service.total == 9
    file.write_text(file.read_text().replace("queries: 9", "queries: 500"))
    assert cli("run", file, "--output", tmp_path / "out").code == 0
    assert max(service.asked.values()) == 1


def test_an_attack_with_gradients_is_refused_before_anything_is_sent(service, tmp_path, cli):
    file = scenario(tmp_path, service, extra="  pgd: [{attack: pgd}]")
    for command in ("validate", "run"):
        outcome = cli(command, file, *(["--output", tmp_path / "out"] if command == "run" else []))
        assert outcome.code == 2
        assert "pgd needs gradients, and detector 'service' has none" in outcome.err
        assert "square" in outcome.err
    assert service.total == 0


def _run_and_stay(file: str, output: str) -> None:
    os.setpgrp()
    run(load_scenario(file), output=output)


def test_a_run_that_is_killed_at_any_moment_asks_nothing_twice(service, tmp_path):
    """SIGKILL after a random number of queries, several times; then the run continues to its end."""
    service.delay = 0.01
    file = scenario(tmp_path, service, steps=25)
    store, chance = tmp_path / "out" / ".cache" / FILE, random.Random(7)
    for _ in range(4):
        before = service.total
        process = get_context("fork").Process(target=_run_and_stay, args=(str(file), str(tmp_path / "out")))
        process.start()
        wanted, until = before + chance.randint(1, 12), time.monotonic() + 60
        while service.total < wanted and process.is_alive():
            assert time.monotonic() < until
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        time.sleep(0.05)
        rows = sqlite3.connect(store).execute("SELECT count(*) FROM answers").fetchone()[0]
        # What the server was asked and the run did not store was on its way.
        assert len(service.asked) - rows <= 4
    asked_before = service.asked.copy()
    on_the_way = len(service.asked) - rows
    result = run(load_scenario(file), output=tmp_path / "out")
    again = [image for image in asked_before if service.asked[image] > asked_before[image]]
    assert len(again) <= on_the_way
    assert sum(count - 1 for count in service.asked.values()) <= 4 * 4
    whole = run(load_scenario(file), output=tmp_path / "other")
    assert result.records.equals(whole.records)
