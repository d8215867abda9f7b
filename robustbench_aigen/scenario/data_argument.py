"""The data argument of commands: a path or id, or the ``data`` section of a scenario in braces."""

from pathlib import Path

from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import LocatedYaml, yaml_value
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.data_spec import DataSpec


def read_data(text: str, base: DataSpec | None = None) -> DataSpec:
    """Read a data argument.

    Parameters
    ----------
    text
        ``minigen``, a path or ``hf://org/name``; or YAML as it may stand under ``data`` in a scenario,
        ``{source: a, layout: csv}``, or a list of sources.
    base
        The scenario's, which it replaces: gives the split and the limit that the text does not. Relative paths, which
        start at the current folder, become absolute then, since the scenario's start at its file.

    Raises
    ------
    UserError
        If it is not what a scenario could say.
    """
    content: object = {"source": text}
    if text.lstrip()[:1] in ("{", "["):
        try:
            content = yaml_value(text)
        except ValueError as error:
            hint = (
                "write it as in a scenario: {source: my_images, layout: csv}, with a space after each colon"
            )
            raise UserError(
                f"--data is not valid YAML: {' '.join(str(error).split())[:80]}", hint=hint
            ) from error
        content = {"sources": content} if isinstance(content, list) else content
    spec = validated(DataSpec, LocatedYaml(Path("--data"), content), "--data")
    if base is None:
        return spec
    kept = {"split": base.split, "limit": base.limit, "mix": base.mix}
    spec = spec.model_copy(update={key: kept[key] for key in kept.keys() - spec.model_fields_set})
    return spec.starting_here()
