"""Imported scores in a scenario or a command: a table, and the meaning of its columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from robustbench_aigen.documents.document import Section, not_a_boolean, validated, validated_values
from robustbench_aigen.documents.located_yaml import LocatedYaml, yaml_value
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.scenario.data_spec import ClassName, read_label_meanings
from robustbench_aigen.scenario.scenario import Name, ThresholdRule

SCORE_SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")
"""Kinds of files with scores."""


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Names = Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]


class ScoresSpec(Section):
    """A table of scores, and the meaning of its columns. A column that is left out is found by its name.

    Parameters
    ----------
    path
        A CSV, Parquet or npz file; None for a table in memory.
    name
        The name of the run; by default that of the file.
    score
        The column of the scores, or several columns, each of a detector.
    label, labels
        The column of the classes, and the meaning of its values: ``{0: real, 1: fake}``.
    sample, sha256, generator, split
        The columns of the samples' ids or paths, of the hashes of their files, of generators and of splits.
    detector, condition
        The columns that distinguish the rows of one sample: the detector, and what was done to the images. Of several
        columns of conditions, the later ones are parameters: ``pgd[eps=4/255]``.
    clean
        The condition of the unchanged images.
    logit
        Whether scores are log-odds in nats and not probabilities; by default, those of a column that is called so.
    fake_is
        ``high``: a high score means AI-generated; ``low``: a high score means real.
    threshold
        The probability of *fake* from which on the verdict is *fake*, or a rule that is fitted on the clean rows of the
        validation split.
    threshold_logit
        The threshold of logits, in nats.
    evaluate
        The evaluated split, or ``all``.
    samples
        ``same``: every detector and condition has the same samples. ``common``: samples that one of them lacks are
        left out.
    """

    path: str | None = None
    name: Name | None = None
    score: _Names | None = None
    label: str | None = None
    labels: Annotated[dict[str, ClassName], BeforeValidator(read_label_meanings)] | None = None
    sample: str | None = None
    sha256: str | None = None
    generator: str | None = None
    split: str | None = None
    detector: str | None = None
    condition: _Names | None = None
    clean: str | None = None
    logit: bool | None = None
    fake_is: Literal["high", "low"] | None = None
    threshold: ThresholdRule = 0.5
    threshold_logit: Annotated[float, BeforeValidator(not_a_boolean)] | None = None
    evaluate: str | None = None
    samples: Literal["same", "common"] = "same"

    @model_validator(mode="after")
    def _has_one_threshold(self) -> Self:
        if self.threshold_logit is not None and "threshold" in self.model_fields_set:
            raise ValueError("'threshold' and 'threshold_logit' give one threshold twice: leave out one")
        if self.threshold_logit is not None and not self.logit:
            raise ValueError("'threshold_logit' is the threshold of logits: add logit: true")
        return self


def scores_spec(given: Mapping[str, object]) -> ScoresSpec:
    """Return the meaning of a table from the arguments of a call; None stands for one that is left out.

    Raises
    ------
    UserError
        If a value is not one that a scenario could have.
    """
    said = {key: value for key, value in given.items() if value is not None}
    if "threshold_logit" in said and said.get("threshold") == 0.5:
        del said["threshold"]
    return validated_values(ScoresSpec, said, "scores")


def names_scores(text: str | Path) -> bool:
    """Whether an argument names scores: a table's file, or ``{path: scores.csv, score: prob}``."""
    given = str(text).lstrip()
    return given.startswith("{") or Path(given).suffix.lower() in SCORE_SUFFIXES


def read_scores(text: str | Path) -> ScoresSpec:
    """Read an argument that names scores: a path, or ``{path: scores.csv, score: prob}``.

    Raises
    ------
    UserError
        If it is not what a scenario could say.
    """
    given = str(text).strip()
    if not given.startswith("{"):
        return ScoresSpec(path=given)
    example = "{path: scores.csv, score: prob}"
    try:
        content = yaml_value(given)
    except ValueError as error:
        hint = f"write it as in a scenario: {example}, with a space after each colon"
        raise UserError(f"'{shortened(given)}' is not valid YAML", hint=hint) from error
    spec = validated(ScoresSpec, LocatedYaml(Path("scores"), content), "scores")
    if spec.path is None:
        raise UserError(f"'{shortened(given)}' names no file", hint=f"add its path: {example}")
    return spec
