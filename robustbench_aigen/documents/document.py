"""Turns pydantic's findings into one sentence with file, line and key."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from robustbench_aigen.documents.located_yaml import LocatedYaml, Path_
from robustbench_aigen.errors import UserError, did_you_mean

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """A mapping in one of the project's YAML files: unknown keys are errors, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def not_a_boolean(value: object) -> object:
    """Refuse what YAML reads as a boolean: to Python ``true`` is the number 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004  pydantic collects ValueErrors
    return value


class PartError(UserError, ValueError):
    """A part of a document is wrong. A ``ValueError`` too, so that pydantic collects it.

    Attributes
    ----------
    path
        Where, below the part that was read.
    """

    def __init__(self, message: str, path: Path_ = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path

    def below(self, *prefix: str | int) -> "PartError":
        """Return the same error of what stands below a longer path."""
        return PartError(self.message, (*prefix, *self.path), self.hint)

    @classmethod
    def of(cls, error: UserError, *path: str | int) -> "PartError":
        """Return an error of another file as one of the part that names this file."""
        where = (
            "" if error.file is None else f"{error.file}:{error.line}: " if error.line else f"{error.file}: "
        )
        return cls(f"{where}{error.message}", path, error.hint)


def validated(model: type[M], located: LocatedYaml, what: str, context: object = None) -> M:
    """Validate a whole file.

    Parameters
    ----------
    model
        The file's schema.
    located
        The parsed file.
    what
        What such a file is, for the error when it is not even a mapping.
    context
        What the validators of the schema are told.

    Raises
    ------
    UserError
        For the first mistake, an unknown key before any other.
    """
    if not isinstance(located.content, dict):
        raise located.error(f"{what} is a mapping of keys to values", ())
    try:
        return model.model_validate(located.content, context=context)
    except ValidationError as error:
        raise _as_user_error(model, located, error) from None


def validated_part(model: type[M], value: object, located: LocatedYaml, at: Path_) -> M:
    """Validate one value of a file, which stands at the path ``at``.

    Raises
    ------
    UserError
        As :func:`validated` does.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _as_user_error(model, located, error, at) from None


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
    """Write a YAML value as it stands in a message."""
    return f"'{value}'" if isinstance(value, str) else "empty" if value is None else str(value)
