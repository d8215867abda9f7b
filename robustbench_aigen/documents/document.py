"""Validation of YAML documents: pydantic's errors as one sentence with file, line and key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml, Path_
from robustbench_aigen.errors import Source, UserError, did_you_mean, shortened

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):  # noqa: PLW1641  pydantic provides the hash of frozen models
    """A mapping in one of the project's YAML files: unknown keys are errors, and values never change.

    A section knows its place in the file; equality and hash ignore the place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    _yaml: LocatedYaml | None = PrivateAttr(default=None)
    _path: Path_ = PrivateAttr(default=())

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def where(self, *path: str | int) -> Source | None:
        """Return the place of the section, or of a value below it.

        None if the section was made in Python, or if the value was replaced after the file was read.
        """
        return None if self._yaml is None else self._yaml.source((*self._path, *path))

    def part(self, model: type[M], value: object, *path: str | int) -> M:
        """Validate a value below the section, at ``path``, whose type the schema does not declare.

        Raises
        ------
        UserError
            For the first mistake, with its place.
        """
        return validated_part(model, value, self._yaml or LocatedYaml(NOWHERE, {}), (*self._path, *path))

    def replaced(self, changes: Mapping[str, object], named: Path = NOWHERE) -> Self:
        """Return the section with some keys replaced; the new values have no place in the file.

        Parameters
        ----------
        changes
            The keys and their new values.
        named
            Name used instead of the file in messages about the new values.

        Raises
        ------
        UserError
            If a value is not one that a file could have.
        """
        content = {**self.model_dump(exclude_unset=True), **changes}
        section = validated(type(self), LocatedYaml(named, content), "a section")
        for private in type(self).__private_attributes__:
            setattr(section, private, getattr(self, private))
        _mark(
            section,
            (self._yaml or LocatedYaml(NOWHERE, {})).without((*self._path, key) for key in changes),
            self._path,
        )
        return section


class Document(Section):
    """A whole file, or the same content made in Python. Relative paths start at :attr:`folder`."""

    _folder: Path | None = PrivateAttr(default=None)

    def model_post_init(self, _: object, /) -> None:
        """Set the places of sections that are made in Python; these are keys without a file."""
        _mark(self, LocatedYaml(NOWHERE, {}), ())

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        if self._folder is not None:
            return self._folder
        return Path() if self._yaml is None else self._yaml.file.parent

    @property
    def file(self) -> Path | None:
        """The file that the document was read from; None for one made in Python."""
        return None if self._yaml is None or self._yaml.file == NOWHERE else self._yaml.file

    @property
    def replaced_keys(self) -> frozenset[str]:
        """The keys that were replaced after the file was read."""
        return frozenset() if self._yaml is None else frozenset(str(path[0]) for path in self._yaml.replaced)


def _mark(value: object, yaml: LocatedYaml | None, path: Path_) -> None:
    """Set the places of a section and of all sections below it; replaced sections have none."""
    if yaml is not None and (path in yaml.replaced or not yaml.has_places):
        yaml = None
    if isinstance(value, Section):
        value._yaml, value._path = yaml, path  # noqa: SLF001  One mechanism.
        for name, field in type(value).model_fields.items():
            _mark(getattr(value, name), yaml, (*path, field.alias or name))
    elif isinstance(value, Mapping):
        for key, below in value.items():
            _mark(below, yaml, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for place, below in enumerate(value):
            _mark(below, yaml, (*path, place))


def not_a_boolean(value: object) -> object:
    """Refuse booleans of YAML, because Python reads ``true`` as the number 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004  pydantic collects ValueErrors
    return value


class PartError(UserError, ValueError):
    """Error in a part of a document. It is also a ``ValueError``, so that pydantic collects it.

    Attributes
    ----------
    path
        Place of the error below the part that was read.
    """

    def __init__(self, message: str, path: Path_ = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path

    def below(self, *prefix: str | int) -> "PartError":
        """Return the same error of what stands below a longer path."""
        return PartError(self.message, (*prefix, *self.path), self.hint)

    @classmethod
    def of(cls, error: UserError, *path: str | int) -> "PartError":
        """Return an error of another file as an error of the part that names the file."""
        return cls(error.sentence, path, error.hint)


def validated(model: type[M], located: LocatedYaml, what: str, context: object = None) -> M:
    """Validate a whole file and set the places of its sections.

    Parameters
    ----------
    model
        The file's schema.
    located
        The parsed file.
    what
        Name for this kind of file, for the error if the content is not a mapping.
    context
        Context for the validators of the schema.

    Raises
    ------
    UserError
        For the first mistake, an unknown key before any other.
    """
    if not isinstance(located.content, dict):
        raise located.error(f"{what} is a mapping of keys to values", ())
    return validated_part(model, located.content, located, (), context)


def validated_values(model: type[M], content: object, what: str) -> M:
    """Validate plain values that were given in Python, as :func:`validated` does; errors name the key alone."""
    return validated(model, LocatedYaml(NOWHERE, content), what)


def validated_part(
    model: type[M], value: object, located: LocatedYaml, at: Path_, context: object = None
) -> M:
    """Validate one value of a file, which stands at the path ``at``.

    Raises
    ------
    UserError
        As :func:`validated` does.
    """
    try:
        result = model.model_validate(value, context=context)
    except ValidationError as error:
        raise _as_user_error(model, located, error, at) from None
    _mark(result, located, at)
    return result


_EXPECTED: Mapping[str, str] = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list of two numbers",
    "too_long": "has too many values",
    "too_short": "must not be empty",
    "greater_than": "must be greater than 0",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def _as_user_error(
    model: type[BaseModel], located: LocatedYaml, error: ValidationError, at: Path_ = ()
) -> UserError:
    # Unknown keys first: a misspelt key is also a missing one, and only the former says what was typed.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    inside = tuple(problem["loc"])
    path = (*at, *inside)
    kind, given = problem["type"], problem["input"]
    last = inside[-1] if inside else ""
    if kind == "extra_forbidden":
        return located.error(
            f"unknown key '{last}'", path, did_you_mean(str(last), _keys(model, inside[:-1]))
        )
    if kind == "missing":
        text, place = (
            ("has too few values", path[:-1])
            if isinstance(last, int)
            else (f"the key '{last}' is missing", path)
        )
        return located.error(text, place)
    if kind == "literal_error":
        message = f"must be {problem['ctx']['expected']}"
    elif kind == "value_error":
        fault = problem["ctx"]["error"]
        if isinstance(fault, PartError):
            return located.error(fault.message, (*path, *fault.path), fault.hint)
        return located.error(str(fault), path)
    elif kind == "too_short" and problem["ctx"]["min_length"] > 1:
        return located.error(f"needs at least {problem['ctx']['min_length']} values", path)
    else:
        message = _EXPECTED.get(kind, problem["msg"])
    swept = "only the parameters of a pipeline's stages can be swept with a list"
    return located.error(f"{message}, not {show(given)}", path, swept if isinstance(given, list) else None)


def _keys(model: type[BaseModel], path: Path_) -> list[str]:
    """Return the keys that the section at ``path`` may have."""
    section: type[BaseModel] = model
    for part in path:
        if isinstance(part, str) and part in section.model_fields:
            found = _section_of(section.model_fields[part].annotation)
            section = found or section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _section_of(argument)) is not None:
            return found
    return None


def show(value: object) -> str:
    """Return a YAML value as text for a message."""
    text = f"'{value}'" if isinstance(value, str) else "empty" if value is None else str(value)
    return shortened(text, 200)
