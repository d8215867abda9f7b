"""Description of a Hugging Face data set, in its files' metadata and at the head of its README."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustbench_aigen.data.columns import as_classes
from robustbench_aigen.documents.located_yaml import yaml_value


def class_names_in_schema(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the ClassLabel names of columns that Hugging Face's writer leaves in a file."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b""))["info"]["features"]
        named = {column: as_classes(feature.get("names")) for column, feature in features.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    return {column: names for column, names in named.items() if names is not None}


def class_names_in_readme(folder: Path) -> dict[str, list[str]]:
    """Return the ClassLabel names that ``dataset_info`` at the head of a folder's README gives columns.

    Of several configurations that name a column differently none is believed.
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        if not text.startswith("---"):
            return {}
        head: Any = yaml_value(text.removeprefix("---").partition("\n---")[0])
        infos = head["dataset_info"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found: dict[str, list[list[str]]] = {}
    for info in infos if isinstance(infos, list) else [infos]:
        for column, names in _named_features(info):
            found.setdefault(column, []).append(names)
    return {column: said[0] for column, said in found.items() if all(names == said[0] for names in said)}


def _named_features(info: Any) -> list[tuple[str, list[str]]]:
    """Read ``features: [{name: label, dtype: {class_label: {names: {'0': fake, '1': real}}}}]``."""
    named = []
    try:
        for feature in info["features"]:
            type_ = feature.get("dtype")
            if isinstance(type_, dict) and "class_label" in type_:
                names = as_classes(type_["class_label"]["names"])
                if names is not None:
                    named.append((str(feature["name"]), names))
    except (KeyError, TypeError, AttributeError, ValueError):
        return []
    return named
