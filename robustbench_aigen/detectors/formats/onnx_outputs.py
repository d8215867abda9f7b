"""Choice of the scores among an ONNX model's outputs; labels and features are not scores."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from robustbench_aigen.detectors.outputs import meanings_of
from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted

Array = NDArray[Any]
_NUMBERS = ("tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)")
_MAPS = "seq(map("


class ChosenOutput(NamedTuple):
    """An output that is scored.

    Parameters
    ----------
    name
        In the graph; of a sequence of maps the table that it is made of.
    is_alone
        Whether the model has no other output.
    notes
        Notices about the choice.
    metadata
        Settings of a preprocessing that the model's names of classes say.
    """

    name: str
    is_alone: bool
    notes: tuple[str, ...]
    metadata: Mapping[str, Any]


def choose_output(model: Any, session: Any, images: Array, wanted: str | None, file: Path) -> ChosenOutput:
    """Choose the output that has one or two numbers for each image.

    Parameters
    ----------
    model, session
        The same model, of onnx and of onnxruntime.
    images
        An input that it takes.
    wanted
        The name that a scenario or a card gives, None where none does.
    file
        File of the model, for messages.

    Raises
    ------
    UserError
        If there is no such output, or several.
    """
    outputs = session.get_outputs()
    names = [each.name for each in outputs]
    if wanted is not None and wanted not in names:
        raise UserError(
            f"has no output '{wanted}'", file=file, hint=f"set output: to one of {', '.join(names)}"
        )
    scores = [each for each in outputs if each.type in _NUMBERS or each.type.startswith(_MAPS)]
    if wanted is not None:
        scores = [each for each in scores if each.name == wanted]
    if not scores:
        found = ", ".join(f"{each.name} ({each.type})" for each in outputs if wanted in (None, each.name))
        raise UserError(
            f"returns {found}: labels, not scores",
            file=file,
            hint="export the model with its probabilities or logits",
        )
    if len(outputs) == 1 and scores[0].type in _NUMBERS:
        return ChosenOutput(names[0], is_alone=True, notes=(), metadata=_meanings(model, names[0]))
    name = scores[0].name if wanted is not None else _the_one(scores, session, images, file)
    table = _table_of(model, name)
    told = f"of the outputs {', '.join(names)}, '{name}' is scored; output: NAME selects another output"
    notes = (told,) if wanted is None and len(outputs) > 1 else ()
    return ChosenOutput(table, is_alone=False, notes=notes, metadata=_meanings(model, table))


def _the_one(scores: Sequence[Any], session: Any, images: Array, file: Path) -> str:
    """Return the name of the only output that could be scores of two classes; the logits if both forms exist."""
    answers = session.run([each.name for each in scores], {session.get_inputs()[0].name: images})
    tables = {
        each.name: table
        for each, answer in zip(scores, answers, strict=True)
        if (table := _as_table(answer, len(images))) is not None and table.shape[1] in (1, 2)
    }
    if len(tables) > 1 and any(not _is_whole(table) for table in tables.values()):
        # Labels in a type of scores.
        tables = {name: table for name, table in tables.items() if not _is_whole(table)}
    if len(tables) == 1:
        return next(iter(tables))
    for logits, probabilities in permutations(tables, 2):
        if _are_one(tables[logits], tables[probabilities]):
            return logits
    likely = [name for name in tables if "prob" in name.lower()]
    if len(likely) == 1:
        return likely[0]
    shapes = [
        f"{each.name} {'×'.join(map(str, np.shape(answer)))}"
        for each, answer in zip(scores, answers, strict=True)
    ]
    if not tables:
        raise UserError(
            f"answers {', '.join(shapes)} for {counted(len(images), 'image')}: no output has one or two numbers (real, fake) per image",
            file=file,
        )
    raise UserError(
        f"has {len(tables)} outputs that could be scores: {', '.join(tables)}",
        file=file,
        hint=f"choose an output: {{path: {file.name}, output: {next(iter(tables))}}}",
    )


def _as_table(answer: Any, count: int) -> Array | None:
    """Return an output as a row for each image; None for other shapes."""
    if isinstance(answer, list):
        if len(answer) != count or not all(isinstance(row, dict) for row in answer):
            return None
        return np.array([list(row.values()) for row in answer], dtype=np.float32)
    if not answer.shape or answer.shape[0] != count:
        return None
    table: Array = answer.reshape(count, -1)
    return table


def _is_whole(table: Array) -> bool:
    return bool((table == np.round(table)).all())


def _are_one(logits: Array, probabilities: Array) -> bool:
    if logits.shape != probabilities.shape:
        return False
    made = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
    return bool(np.allclose(made, probabilities, atol=1e-4))


def _table_of(model: Any, name: str) -> str:
    """Return the name of the table that a sequence of maps is made of; of any other output its own."""
    for node in model.graph.node:
        if name in node.output and node.op_type == "ZipMap":
            return str(node.input[0])
    return name


def _meanings(model: Any, name: str) -> dict[str, Any]:
    """Return which column of an output means fake where the names of the classes say it."""
    for node in model.graph.node:
        is_its = name in node.output or (node.op_type == "ZipMap" and name in node.input)
        for attribute in node.attribute if is_its else ():
            if attribute.name == "classlabels_strings" and len(attribute.strings) == 2:
                index = meanings_of(
                    [each.decode("utf-8", "replace") for each in attribute.strings]
                ).fake_index
                if index is not None:
                    return {"fake_index": index}
    return {}


def with_one_output(onnx: Any, model: Any, name: str) -> Any:
    """Return a model that answers one of the values in its graph, and computes nothing that it does not need."""
    cut = deepcopy(model)
    needed, kept = {name}, []
    for node in reversed(cut.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input, _names_inside(node))
    described = [each for each in (*cut.graph.output, *cut.graph.value_info) if each.name == name]
    output = (
        described[0] if described else onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
    nodes = list(reversed(kept))
    del cut.graph.node[:]
    cut.graph.node.extend(nodes)
    del cut.graph.output[:]
    cut.graph.output.extend([output])
    return cut


def _names_inside(node: Any) -> Iterator[str]:
    """Yield the names that the branches of a node take from outside."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _names_inside(inner)
