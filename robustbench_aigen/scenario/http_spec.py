"""The section ``http:`` of a detector: how a service receives an image, and where its answer holds the score."""

import re
from collections.abc import Iterator
from copy import deepcopy
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote_plus, urlsplit

from pydantic import BeforeValidator, Field, JsonValue, StrictBool, StrictInt, StrictStr, model_validator

from robustbench_aigen.documents.document import PartError, Section, not_a_boolean, show
from robustbench_aigen.scenario.json_path import Filter, JsonPath
from robustbench_aigen.stages.parameters import read_fraction

VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)
"""A reference to an environment variable, such as ``${MY_TOKEN}``."""
_CREDENTIAL = re.compile(
    r"authorization|(^|[-_])auth$|token$|secret|passw|cookie|credential|bearer|(api|access|private).?key"
    r"|(^|[-_])(key|sig|signature|pwd|pw|pass|pin|sas)$|^code$",
    re.IGNORECASE,
)
"""Names of headers, fields and parameters whose values are credentials."""

_SCHEMES = ("bearer", "basic", "digest", "negotiate", "token", "apikey", "api-key", "key")
"""Words that stand before a credential."""
_LONGEST_REST = 5
"""Characters beside a variable that are surely no credential."""
_OWN_HEADERS = ("content-length", "transfer-encoding", "host", "connection", "accept-encoding")


def _path(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"must be a path such as result.score, not {show(value)}")  # noqa: TRY004  pydantic collects ValueErrors
    JsonPath.parsed(value)
    return value


def _positive(value: object) -> object:
    number = read_fraction(value)
    if number is None or number <= 0:
        raise ValueError(f"must be a number greater than 0, not {show(value)}")
    return number


def _decimal(value: object) -> object:
    # The text of a float is the number that was written; its binary value is not.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Word = StrictStr | StrictBool | StrictInt


def _words(value: object) -> object:
    return value if isinstance(value, list | tuple) or value is None else (value,)


def _compared(word: str | bool | int) -> tuple[type, str | bool | int]:
    """Return what decides whether a word equals another: in Python, true equals 1, and case does not matter."""
    return type(word), word.strip().casefold() if isinstance(word, str) else word


def _image(value: object) -> object:
    return {"format": value} if isinstance(value, str) else value


PathText = Annotated[str, BeforeValidator(_path)]
Positive = Annotated[float, BeforeValidator(_positive)]
Count = Annotated[int, Field(strict=True, gt=0)]
CountOrZero = Annotated[int, Field(strict=True, ge=0)]
Amount = Annotated[Decimal, BeforeValidator(_decimal), BeforeValidator(not_a_boolean), Field(gt=0)]
Words = Annotated[tuple[Word, ...] | None, BeforeValidator(_words)]


class ImageSpec(Section):
    """The format in which an image is sent.

    Parameters
    ----------
    format
        PNG and WebP are lossless.
    quality
        Quality of JPEG.
    """

    format: Literal["png", "webp", "jpeg"] = "png"
    quality: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None

    @model_validator(mode="after")
    def _quality_of_jpeg(self) -> Self:
        if (self.quality is None) == (self.format == "jpeg"):
            raise ValueError(
                "jpeg needs a quality: {format: jpeg, quality: 95}"
                if self.format == "jpeg"
                else f"'quality' goes with jpeg: {self.format} is lossless"
            )
        return self


class ScoreSpec(Section):
    """Where the answer holds the score, and how the score is read: a number, or a verdict.

    Parameters
    ----------
    path
        Place in the JSON answer, such as ``result.score``.
    of
        The class whose score the number is.
    scale
        Scale of the number.
    fake
        Words of a verdict for fake.
    real
        Words of a verdict for real.
    """

    path: PathText = "$"
    of: Literal["real", "fake"] | None = None
    scale: Literal["probability", "percentage", "logit"] | None = None
    fake: Words = None
    real: Words = None

    @model_validator(mode="after")
    def _is_number_or_verdict(self) -> Self:
        if self.fake is not None or self.real is not None:
            if not self.fake or not self.real:
                raise ValueError("a verdict needs the words of both classes: fake: [AI], real: [human]")
            if self.of is not None or self.scale is not None:
                raise ValueError("'of' and 'scale' belong to a number, 'fake' and 'real' to a verdict")
            real = {_compared(word) for word in self.real}
            for word in self.fake:
                if _compared(word) in real:
                    raise ValueError(f"{show(word)} is a word of both classes, without regard to case")
        elif self.of is None:
            raise ValueError(
                "must say which class the score means: of: fake, or of: real; for a verdict the words: "
                "fake: [AI], real: [human]"
            )
        return self

    @property
    def is_verdict(self) -> bool:
        """Whether the answer is a verdict without a score."""
        return self.fake is not None


class BudgetSpec(Section):
    """The largest number of queries, directly or as money.

    Parameters
    ----------
    queries
        The largest number of queries.
    money
        The largest price; divided by ``per_query``, a number of queries.
    per_query
        Price of a query.
    currency
        Name of the currency in messages.
    """

    queries: Count | None = None
    money: Amount | None = None
    per_query: Amount | None = None
    currency: str = ""

    @model_validator(mode="after")
    def _says_a_limit(self) -> Self:
        if self.money is not None and self.per_query is None:
            raise ValueError("'money' needs 'per_query', the price of a query")
        if self.queries is None and self.money is None:
            raise ValueError("needs 'queries', or 'money' with 'per_query'")
        return self

    @property
    def limit(self) -> int:
        """The most queries."""
        limits = [] if self.queries is None else [self.queries]
        if self.money is not None and self.per_query is not None:
            limits.append(int((self.money / self.per_query).to_integral_value(ROUND_FLOOR)))
        return min(limits)

    def cost(self, queries: int) -> str:
        """Return the price of some queries as text; empty without a price."""
        return "" if self.per_query is None else f"{queries * self.per_query} {self.currency}".strip()


class HttpSpec(Section):
    """How a service receives images and answers.

    Parameters
    ----------
    send
        ``multipart`` form, base64 in ``json``, or the ``raw`` bytes as body.
    image
        The format of the image.
    field
        Name of the image's field; in JSON also a path (``inputs[0].content``).
    data_url
        Whether the base64 in JSON begins with ``data:image/png;base64,``.
    fields
        Further fields of the form or of the JSON object.
    headers
        Further headers. ``${NAME}`` in headers, fields and the address is the environment variable.
    method
        ``POST`` or ``PUT``.
    score
        How the answer is read.
    rate
        Most requests per second.
    concurrent
        Most requests at a time.
    timeout
        Seconds for the connection and for each wait for data; an answer that is still arriving when as many have passed
        since the request began is given up.
    retries
        Further requests for an image after 408, 429, 5xx and failures of the connection.
    wait
        Seconds before the first further request; doubled each time. The ``Retry-After`` of an answer has priority.
    longest_wait
        The longest ``Retry-After`` in seconds that is waited for.
    budget
        The most queries.
    recheck
        Number of images with a stored answer that are sent again, to find a changed service.
    answers
        Folder of the stored answers, instead of the cache of the run.
    version
        The user's word for the version of the service: a new version is asked again.
    """

    send: Literal["multipart", "json", "raw"] = "multipart"
    image: Annotated[ImageSpec, BeforeValidator(_image)] = ImageSpec()
    field: str = "image"
    data_url: bool = False
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    method: Literal["POST", "PUT"] = "POST"
    score: ScoreSpec
    rate: Positive | None = None
    concurrent: Annotated[int, Field(strict=True, gt=0, le=256)] = 4
    timeout: Positive = 30.0
    retries: CountOrZero = 5
    wait: Positive = 1.0
    longest_wait: Positive = 600.0
    budget: BudgetSpec | None = None
    recheck: CountOrZero = 0
    answers: str | None = None
    version: Annotated[str, Field(pattern=r"\S")] | None = None

    def __hash__(self) -> int:
        # Mappings have no hash.
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data_url and self.send != "json":
            raise PartError("'data_url' goes with send: json", ("data_url",))
        self._check_fields()
        for name, text in self.headers.items():
            self._check_header(name, text)
        for place, name, text in self._named_texts():
            _refuse_literal_credential(name, text, place)
        return self

    def _check_fields(self) -> None:
        given = self.model_fields_set & {"field", "fields"}
        if self.send == "raw" and given:
            raise PartError(
                "a raw body is the image alone, without fields",
                (min(given),),
                "write further values into headers or into the address: ?model=v2",
            )
        if self.send == "json":
            self.put(deepcopy(self.fields), "")
        elif self.field in self.fields:
            raise PartError(f"'{self.field}' is among the fields, and the image belongs there", ("field",))
        for name, value in self.fields.items():
            if self.send == "multipart" and not isinstance(value, str | int | float | bool):
                raise PartError("must be a text or a number in a form", ("fields", name))

    def _check_header(self, name: str, text: str) -> None:
        place = ("headers", name)
        if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
            raise PartError(f"'{name}' is not the name of a header", place)
        if name.lower() in _OWN_HEADERS or (name.lower() == "content-type" and self.send != "raw"):
            raise PartError(f"the header '{name}' follows from the request: leave it out", place)
        if not (text.isascii() and text.isprintable()):
            raise PartError("the value of a header is printable ASCII", place)

    def put(self, body: dict[str, JsonValue], image: str) -> dict[str, JsonValue]:
        """Set the image's field in a JSON object.

        Raises
        ------
        PartError
            If the image's place does not fit into the object.
        """
        try:
            path = JsonPath.parsed(self.field)
        except ValueError as error:
            raise PartError(str(error), ("field",)) from error
        if not path.steps or any(isinstance(step, Filter) for step in path.steps):
            raise PartError(f"'{self.field}' does not name a field", ("field",))
        try:
            path.put(body, image)
        except ValueError as error:
            raise PartError(str(error), ("field",)) from error
        return body

    def _named_texts(self) -> Iterator[tuple[tuple[str, ...], str, str]]:
        for name, text in self.headers.items():
            yield ("headers", name), name, text
        for name, value in self.fields.items():
            for inner, text in named_texts(name, value):
                yield ("fields", name), inner, text


def is_credential(name: str) -> bool:
    """Whether the value of a header, field or parameter is a credential, by its name."""
    return _CREDENTIAL.search(name) is not None


def _has_literal(text: str) -> bool:
    """Whether a value has characters of a credential that are not those of a variable."""
    if not VARIABLE.search(text):
        return bool(text)
    # The name of a variable's part, as in "session=${MY_SESSION}".
    rest = VARIABLE.sub(" ", re.sub(rf'[\w.-]+="?(?={VARIABLE.pattern})', " ", text))
    words = re.findall(r"""[^\s"'=:,;]+""", rest)
    return any(len(word) > _LONGEST_REST and word.lower() not in _SCHEMES for word in words)


def _refuse_literal_credential(name: str, text: str, place: tuple[str, ...] = ()) -> None:
    if is_credential(name) and _has_literal(text):
        raise PartError(
            f"the value of '{name}' is a credential, and this file is copied into the results",
            place,
            'export it as an environment variable and name the variable here: "${MY_TOKEN}"',
        )


def named_texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers below a value of JSON as texts, each with the name of its member."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield name, str(value)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from named_texts(str(key), below)
    elif isinstance(value, list):
        for below in value:
            yield from named_texts(name, below)


def check_address(text: str) -> None:
    """Check the address of a service.

    Raises
    ------
    ValueError
        If the address has no host, or holds a credential.
    """
    shown = without_credentials(text)
    try:
        parts = urlsplit(VARIABLE.sub("x", text))
        host, _ = parts.hostname, parts.port
    except ValueError:
        # The text of the error may have a part of a password.
        raise ValueError(f"'{shown}' is not an address: the host or the port is wrong") from None
    if parts.username is not None or parts.password is not None:
        raise PartError(
            f"'{shown}' holds a name or a password",
            (),
            'write a header: headers: {Authorization: "Basic ${MY_LOGIN}"}',
        )
    if VARIABLE.search(urlsplit(text).netloc):
        raise ValueError(f"the host of '{shown}' is a variable: write the host, because results belong to it")
    if not host or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"'{shown}' is not an address such as https://host/path")
    if "#" in text:
        raise ValueError(f"'{shown}' has a fragment (#…), which is never sent")
    for name, value in parameters(text):
        _refuse_literal_credential(name, value)


def parameters(address: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of an address, each with the name of its parameter; the name is empty before the first one."""
    for part in re.split(r"[?&;]", address):
        name, is_parameter, value = part.partition("=")
        yield (unquote_plus(name), value) if is_parameter else ("", part)


def without_credentials(address: str) -> str:
    """Return an address without parameters, and without the name and password before its host.

    >>> without_credentials("https://me:p/w@host/path?code=1")
    'https://…@host/path'
    """
    # A password may have any character, so the last @ counts.
    return re.split("[?#]", re.sub(r"(?<=//).*@", "…@", address, flags=re.DOTALL))[0]


def answers_beside(spec: HttpSpec, folder: Path) -> HttpSpec:
    """Return the section with the absolute path of its folder of answers."""
    if spec.answers is None:
        return spec
    return spec.model_copy(
        update={"answers": str((Path.cwd() / folder / Path(spec.answers).expanduser()).resolve())}
    )
