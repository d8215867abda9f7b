"""A service that scores images: sends each image once, within rate and budget, and stores the answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from threading import Event, Lock
from traceback import format_exception
from typing import Any, NamedTuple

from torch import Tensor

from robustbench_aigen.detectors.remote.credentials import Credentials, read_variables
from robustbench_aigen.detectors.remote.file_metadata import present_exif
from robustbench_aigen.detectors.remote.pacing import RateLimit, back_off, retry_after, sleep
from robustbench_aigen.detectors.remote.reading import Reader, UnreadableAnswerError
from robustbench_aigen.detectors.remote.request import (
    SentImage,
    codec,
    encoded,
    request_parts,
    texts_with_variables,
)
from robustbench_aigen.detectors.remote.store import FILE, AnswerStore, Queries, StoredAnswer, store_in
from robustbench_aigen.detectors.remote.transport import Reply, Transport, Unanswered
from robustbench_aigen.errors import Source, UserError, first_line
from robustbench_aigen.scenario.http_spec import VARIABLE, HttpSpec, is_credential, parameters
from robustbench_aigen.text import counted

_TOO_MANY = 429
_AGAIN = (408, _TOO_MANY)
_BEGINNING = 160
"""Characters of an answer in a message."""
_LARGEST = 16_384
"""Characters of an answer that is stored whole; of a longer answer, the part with the score."""
_CHANGED = 1e-3
"""Difference of two log-odds, relative to 1 + the larger one, from which on a service has changed."""
_TOLD = 5.0
"""Seconds of a pause that the user is told."""


class ServiceError(UserError):
    """A service did not answer, answered something else, or may not be queried again.

    The message is complete: nothing is put around it, and no other image is tried.
    """


class Usage(NamedTuple):
    """Work of a service since its answers are kept in the present place.

    Parameters
    ----------
    sent, repeated
        Queries sent, and those of them that repeat a failed query.
    stored
        Answers that came from the store.
    oldest, newest
        The dates of the used answers, as ISO text; empty without answers.
    """

    sent: int = 0
    repeated: int = 0
    stored: int = 0
    oldest: str = ""
    newest: str = ""

    def with_answer(self, when: str, *, stored: bool) -> "Usage":
        """Return the usage with one more answer."""
        oldest, newest = min(self.oldest or when, when), max(self.newest, when)
        return self._replace(stored=self.stored + stored, oldest=oldest, newest=newest)


class HttpService:
    """A service behind an address.

    Parameters
    ----------
    address
        The address, with references to environment variables.
    spec
        Its description.
    name
        Name of the detector, for messages.

    Raises
    ------
    UserError
        If an environment variable is missing.
    """

    def __init__(self, address: str, spec: HttpSpec, name: str) -> None:
        self.address, self.spec, self.name = address, spec, name
        self.limit = None if spec.budget is None else spec.budget.limit
        self.tell: Callable[[str], None] = _silent
        self._start()

    def _start(self) -> None:
        """Make what is not copied with the service: credentials, connections, locks."""
        self._credentials = read_variables(texts_with_variables(self.address, self.spec))
        self.identity = _identity(self.address, self.spec, self._credentials)
        self._reader = Reader(self.spec.score)
        self._transport = Transport(self.address, self.spec, self._credentials)
        self._pace, self._lock = RateLimit(self.spec.rate), Lock()
        # Two threads of the user do not send the same image.
        self._calls = Lock()
        self._store: AnswerStore | None = None
        self._after, self._rechecks, self._tells = 0, self.spec.recheck, True
        self.usage = Usage()

    def __copy__(self) -> "HttpService":
        return self  # One connection, one rate limit and one count of queries.

    def __deepcopy__(self, _: object) -> "HttpService":
        return self

    def __getstate__(self) -> dict[str, Any]:
        kept = ("address", "spec", "name", "limit")
        return {key: self.__dict__[key] for key in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.tell = _silent
        self._start()

    @property
    def reading(self) -> str:
        """Hash of the description: what is sent, and how the answer is read."""
        score = self.spec.score.model_dump_json()
        return sha256(f"{self.identity} {score}".encode()).hexdigest()

    def begin(self, folder: Path | None, *, fresh: bool, tell: Callable[[str], None]) -> None:
        """Keep the answers in a folder from now on, unless the description names another.

        Parameters
        ----------
        folder
            The folder; None leaves the answers where they are, at first in memory.
        fresh
            Whether earlier answers are ignored.
        tell
            Receives lines for the user.
        """
        if folder is not None and self.spec.answers is None:
            earlier, self._store = self._store, store_in(folder)
            if earlier is not None and earlier.file is None:
                # Answers before the run are paid for, and count.
                self._store.receive(earlier, self.address, self.identity)
        self._after = self.store.last() if fresh else 0
        self._rechecks, self._tells, self.usage, self.tell = self.spec.recheck, True, Usage(), tell

    def look_in(self, folder: Path) -> None:
        """Read earlier answers of a folder, which is not made if it is missing."""
        if self.spec.answers is None and (folder / FILE).is_file():
            self._store = store_in(folder)

    @property
    def store(self) -> AnswerStore:
        """The stored answers."""
        if self._store is None:
            self._store = store_in(None if self.spec.answers is None else Path(self.spec.answers))
        return self._store

    @property
    def queries(self) -> Queries:
        """The queries to the address that are counted in the store, by all runs."""
        return self.store.queries(self.address)

    def log_odds(self, levels: Sequence[Tensor]) -> list[float]:
        """Return the log-odds of *fake* of N images 3×H×W uint8, in nats; files have the EXIF of the calling thread.

        Equal images, and images with a stored answer, are not sent.

        Raises
        ------
        ServiceError
            If an image has no answer. All answers that arrived are stored.
        """
        try:
            with self._calls:
                return self._log_odds(levels)
        except (ServiceError, MemoryError):
            raise
        except UserError as error:
            # Of another type, the engine would try images of other sizes, which cost queries.
            raise ServiceError(
                error.message,
                file=error.file,
                line=error.line,
                key=error.key,
                hint=error.hint,
                lines=error.lines,
            ) from error
        except Exception as error:  # noqa: BLE001  Raised again, without a chain that has a credential.
            text = self._credentials.masked(f"{type(error).__name__}: {first_line(error)}")
            chain = "".join(format_exception(error))
            raise ServiceError(
                f"detector '{self.name}' cannot be queried: {text}",
                source=self.spec.where(),
                hint="all answers are kept: the same command continues",
            ) from (error if self._credentials.masked(chain) == chain else None)

    def _log_odds(self, levels: Sequence[Tensor]) -> list[float]:
        sent = [SentImage(each, present_exif(each)) for each in levels]
        order = [each.key for each in sent]
        images = dict(zip(order, sent, strict=True))
        found: dict[str, float] = {}
        for key, answer in self.store.found(self.identity, list(images), self._after).items():
            try:
                found[key] = self._reader.log_odds(json.loads(answer.text))
            except UnreadableAnswerError as error:
                if not answer.whole:
                    continue  # The description has changed, and the stored part of the answer is too small for it.
                # Another answer to the same image would cost a query at every start, and be no other.
                raise ServiceError(
                    f"detector '{self.name}': {self._plain(str(error))}, in the stored answer of {answer.answered}; the answer begins {self._plain(answer.text)}",
                    source=error.source,
                    hint="correct 'score' in the description; a new 'version:' sends every image again",
                ) from None
            self.usage = self.usage.with_answer(answer.answered, stored=True)
            if self._rechecks > 0:
                self._rechecks -= 1
                self._recheck(images[key], found[key], answer)
        missing = {key: image for key, image in images.items() if key not in found}
        if missing:
            found |= self._asked(missing)
        return [found[key] for key in order]

    def _asked(self, images: Mapping[str, SentImage]) -> dict[str, float]:
        """Send images, several at a time, and return the log-odds by image."""
        stop, found = Event(), dict[str, float]()
        if not self.usage.newest:
            # A wrong description costs one query, not one of every thread.
            first, *others = images
            found[first] = self._answer(first, images[first], stop)
            if not others:
                return found
            images = {key: images[key] for key in others}
        with ThreadPoolExecutor(min(self.spec.concurrent, len(images)), "query") as pool:
            futures = {pool.submit(self._answer, key, image, stop): key for key, image in images.items()}
            try:
                for future in as_completed(futures):
                    found[futures[future]] = future.result()
            except BaseException:
                # Queries on their way are waited for: their answers are paid for, and stored.
                stop.set()
                raise
        return found

    def _answer(self, key: str, image: SentImage, stop: Event) -> float:
        """Send one image, store the answer, and return its log-odds."""
        reply = self._reply(image, stop)
        document, masked = self._document(reply)
        text = _compact(masked)
        is_whole = len(text) <= _LARGEST
        try:
            odds = self._reader.log_odds(document)
        except UnreadableAnswerError as error:
            # Read again when the description has been corrected.
            if is_whole:
                self.store.keep(self.address, self.identity, key, text, whole=True)
            else:
                self.store.fail(self.address)
            error = self._without_credentials(masked, error)
            raise self._error(str(error), error.source, reply, is_kept=is_whole) from None
        if not self._reads_as(masked, odds):
            # A score that contains the digits of a credential.
            masked, is_whole = document, False
        if not is_whole:
            text = _compact(self._reader.path.alone(masked))
        kept = self.store.keep(self.address, self.identity, key, text, whole=is_whole)
        with self._lock:
            self.usage = self.usage.with_answer(kept.answered, stored=False)
        return odds

    def _reads_as(self, document: Any, odds: float) -> bool:
        try:
            return self._reader.log_odds(document) == odds
        except UnreadableAnswerError:
            return False

    def _without_credentials(self, masked: Any, error: UnreadableAnswerError) -> UnreadableAnswerError:
        """Return the error of an answer whose text has no part of a credential: the text shows beginnings of values."""
        try:
            self._reader.log_odds(masked)
        except UnreadableAnswerError as again:
            return again
        return UnreadableAnswerError("the score cannot be read", error.source)

    def _recheck(self, image: SentImage, odds: float, answer: StoredAnswer) -> None:
        """Send an image with a stored answer again, and compare."""
        reply = self._reply(image, Event())
        document, masked = self._document(reply)
        self.store.note_answered(self.address)
        try:
            now = self._reader.log_odds(document)
        except UnreadableAnswerError as error:
            error = self._without_credentials(masked, error)
            raise self._error(str(error), error.source, reply, is_kept=False) from None
        if abs(now - odds) > _CHANGED * (1 + max(abs(now), abs(odds))):
            raise ServiceError(
                f"detector '{self.name}' has changed: log-odds {now:.4g} for an image that had {odds:.4g} on {answer.answered}",
                source=self.spec.where("recheck"),
                hint="name the new version in 'version:', and every image is sent again",
            )

    def _reply(self, image: SentImage, stop: Event) -> Reply:
        """Send one image until it has an answer."""
        spec = self.spec
        # Threads that wait for it behind their slots would send all at once.
        self._transport.opened()
        parts = request_parts(spec, self._credentials, encoded(image, spec.image))
        said = ""
        for attempt in range(spec.retries + 1):
            self._pace.wait(stop)
            self._reserve(repeated=attempt > 0)
            try:
                reply = self._transport.send(parts)
            except Unanswered as error:
                if error.arrived:
                    self.store.fail(self.address)
                else:
                    self._release(repeated=attempt > 0)
                said = str(error)
                if not error.may_repeat:
                    raise self._unanswered(said) from None
                wait = back_off(spec.wait, attempt)
            else:
                if 200 <= reply.status < 300:
                    return reply
                self.store.fail(self.address)
                said = self._refusal(reply)
                wait = self._wait(reply, attempt, said)
            if attempt < spec.retries:
                sleep(wait, stop)
        raise self._unanswered(f"{said}, after {counted(spec.retries + 1, 'request')}")

    def _reserve(self, *, repeated: bool) -> None:
        """Count a query before it is sent.

        Raises
        ------
        ServiceError
            If the budget is used up.
        """
        if not self.store.reserve(self.address, self.limit):
            done = self.queries
            budget = self.spec.budget
            assert budget is not None
            cost = f" for {budget.cost(done.sent)}" if budget.per_query is not None else ""
            raise ServiceError(
                f"the budget of detector '{self.name}' is used up: {counted(done.sent, 'query', 'queries')} of {budget.limit} sent{cost}",
                source=self.spec.where("budget"),
                hint="all answers are kept: raise the budget, and the same command continues without sending an image twice",
            )
        with self._lock:
            self.usage = self.usage._replace(
                sent=self.usage.sent + 1, repeated=self.usage.repeated + repeated
            )

    def _release(self, *, repeated: bool) -> None:
        """Take back a query that never reached the service."""
        self.store.release(self.address)
        with self._lock:
            self.usage = self.usage._replace(
                sent=self.usage.sent - 1, repeated=self.usage.repeated - repeated
            )

    def _wait(self, reply: Reply, attempt: int, said: str) -> float:
        """Return the seconds before a further request.

        Raises
        ------
        ServiceError
            If a further request is useless, or would have to wait too long.
        """
        if reply.status not in _AGAIN and not 500 <= reply.status < 600:
            raise self._unanswered(said)
        asked = retry_after(reply.header("retry-after"))
        if asked is None:
            wait = back_off(self.spec.wait, attempt)
            if reply.status == _TOO_MANY:
                self._pace.pause(wait)
            return wait
        if asked > self.spec.longest_wait:
            raise ServiceError(
                f"detector '{self.name}' answers HTTP {reply.status} with Retry-After {asked:.0f} s, longer than longest_wait",
                source=self.spec.where("longest_wait"),
                hint="all answers are kept: the same command continues later",
            )
        # The other threads of this service would be refused as well.
        self._pace.pause(asked)
        if asked >= _TOLD and self._tells:
            self._tells = False
            self.tell(f"{self.name}: HTTP {reply.status}, next request in {asked:.0f} s (Retry-After)")
        return asked

    def _document(self, reply: Reply) -> tuple[Any, Any]:
        """Return the JSON of an answer, and the same without credentials."""
        try:
            # NaN and infinity are not JSON.
            document = json.loads(reply.body, parse_constant=_refuse_constant)
            return document, self._credentials.masked_json(document)
        except (ValueError, RecursionError):
            self.store.fail(self.address)
            raise self._error(
                "the answer is not JSON", self.spec.where("score"), reply, is_kept=False
            ) from None

    def _refusal(self, reply: Reply) -> str:
        """Return the status of an answer, and its beginning, as text."""
        text = f"HTTP {reply.status} {self._plain(reply.reason)}".strip()
        place = reply.header("location")
        if 300 <= reply.status < 400 and place:
            return f"{text}, a redirection to {self._plain(place)} that is not followed"
        return f"{text}{self._beginning(reply, ': ')}"

    def _beginning(self, reply: Reply, before: str) -> str:
        text = self._plain(reply.body.decode("utf-8", "replace"))
        return f"{before}{text}" if text else ""

    def _plain(self, text: str) -> str:
        """Return the beginning of a service's text without credentials and without control characters."""
        # Masked before it is cut: a part of a credential would stay.
        masked = " ".join(self._credentials.masked(text).split())
        shown = "".join(each if each.isprintable() else "·" for each in masked[:_BEGINNING])
        return f"{shown}{'…' * (len(masked) > _BEGINNING)}"

    def _unanswered(self, said: str) -> ServiceError:
        hint = "all answers are kept: the same command continues"
        if "HTTP 401" in said or "HTTP 403" in said:
            hint = "check the credentials in 'headers'; all answers are kept"
        return ServiceError(
            f"detector '{self.name}' does not answer: {said}", source=self.spec.where(), hint=hint
        )

    def _error(self, problem: str, source: Source | None, reply: Reply, *, is_kept: bool) -> ServiceError:
        kept = "kept and is not requested again" if is_kept else "not kept, and the image is sent again"
        return ServiceError(
            f"detector '{self.name}': {self._plain(problem)}; the answer begins {self._beginning(reply, '') or 'with nothing'}",
            source=source,
            hint=f"correct 'score' in the description; the answer is {kept}",
        )


def _identity(address: str, spec: HttpSpec, credentials: Credentials) -> str:
    """Return the hash of what is sent: answers belong to it.

    Names of variables are no part of it, nor are values of credentials. Values in the path of the address, and in
    headers, fields and parameters without the name of a credential, are settings that decide the answer.
    """
    settings = [
        text for name, text in parameters(address) if VARIABLE.search(text) and not is_credential(name)
    ]
    sent = {
        "address": address, "method": spec.method, "send": spec.send, "image": spec.image.model_dump(),
        "codec": codec(spec.image), "field": spec.field, "data_url": spec.data_url,
        "fields": credentials.settings_filled(spec.fields), "headers": credentials.settings_filled(spec.headers),
        "version": spec.version,
    }  # fmt: skip
    if settings:
        sent["settings"] = credentials.filled(settings)
    text = json.dumps(sent, sort_keys=True)
    return sha256(VARIABLE.sub("${}", text).encode()).hexdigest()


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _silent(_: str) -> None:
    """Tell nothing."""


def usage_text(service: HttpService) -> str:
    """Return one line on the queries of a run."""
    used, total = service.usage, service.queries
    parts = [f"{counted(used.sent, 'query', 'queries')} sent"]
    if used.repeated:
        parts[0] += f" ({used.repeated} of them repeat a failed query)"
    parts.append(f"{counted(used.stored, 'answer')} from the store")
    if used.newest:
        dates = sorted({used.oldest[:10], used.newest[:10]})
        parts.append(f"answers of {' to '.join(dates)}")
    budget = service.spec.budget
    limit = "" if budget is None else f" of {budget.limit}"
    cost = "" if budget is None or budget.per_query is None else f", {budget.cost(total.sent)}"
    parts.append(f"{total.sent}{limit} to this address by all runs{cost}")
    if total.lost > 0:
        parts.append(f"{total.lost} of them without an answer, because a run was stopped")
    return "; ".join(parts)
