"""Inputs of ONNX models: conversion of half precision to float32, detection of 8-bit levels."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np


def in_float32(onnx: Any, model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a model whose half-precision parts are float32, and notices; other models are returned unchanged.

    The values are those that are stored; the arithmetic is float32's. A model with double input becomes float32 as
    well.
    """
    kinds = {"FLOAT16": "float16", "BFLOAT16": "bfloat16"}
    inputs = {each.type.tensor_type.elem_type for each in model.graph.input}
    if onnx.TensorProto.DOUBLE in inputs:
        kinds["DOUBLE"] = "float64"
    codes = {getattr(onnx.TensorProto, name): text for name, text in kinds.items()}
    found = set(_types_in(model)) & codes.keys()
    if not found:
        return model, ()
    changed = deepcopy(model)
    for value in _values(changed):
        if value.type.tensor_type.elem_type in codes:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for tensor in tensors_of(changed):
        if tensor.data_type in codes:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for attribute in _type_attributes(changed):
        if attribute.i in codes:
            attribute.i = onnx.TensorProto.FLOAT
    return changed, (f"stored in {' and '.join(sorted(codes[code] for code in found))}, computed in float32",)


def with_float_input(onnx: Any, model: Any) -> Any:
    """Return the same model with a float input in place of one of 8-bit levels."""
    changed = deepcopy(model)
    initialised = {tensor.name for tensor in changed.graph.initializer}
    for value in changed.graph.input:
        if value.name not in initialised:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return changed


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _values(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from (*graph.input, *graph.output, *graph.value_info)


def tensors_of(model: Any) -> Iterator[Any]:
    """Yield all tensors with values in a model: weights and constants, those of branches included."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _type_attributes(model: Any) -> Iterator[Any]:
    """Yield the attributes that name a type: what a cast casts to, what a random node draws."""
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype"):
                yield attribute


def _types_in(model: Any) -> Iterator[int]:
    yield from (value.type.tensor_type.elem_type for value in _values(model))
    yield from (tensor.data_type for tensor in tensors_of(model))
    yield from (attribute.i for attribute in _type_attributes(model))


def levels_expected(onnx: Any, model: Any, name: str) -> bool:
    """Whether a model's first step shows that it takes levels from 0 to 255: it divides by them, or subtracts their mean."""
    said = {each.key: each.value for each in model.metadata_props}
    if said.get("Image.NominalPixelRange") == "NominalRange_0_255":
        return True
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    while True:
        users = [node for node in model.graph.node if name in node.input]
        if len(users) != 1:
            return False
        (node,) = users
        if node.op_type not in ("Cast", "Transpose", "Identity"):
            break
        name = node.output[0]
    if node.op_type == "QuantizeLinear" and node.input[1] in constants:
        # Eight bits that reach beyond 20 are of levels; of normalised pixels they reach some units.
        scale = onnx.numpy_helper.to_array(constants[node.input[1]])
        return bool((scale * 127 > 20).all())
    place = list(node.input).index(name)
    others = [constants[each] for each in node.input[place + 1 :] if each in constants]
    if not others or (place != 0 and node.op_type not in ("Mul", "Add")):
        return False
    return _is_of_levels(node.op_type, [onnx.numpy_helper.to_array(tensor) for tensor in others])


def _is_of_levels(operator: str, constants: Sequence[Any]) -> bool:
    first = np.abs(np.asarray(constants[0], dtype=np.float64))
    if not first.size or first.size > 3:
        return False
    if operator == "Div":
        return bool((first > 20).all())
    if operator == "Mul":
        return bool((first < 0.05).all() and (first > 0).all())
    return operator == "Sub" and bool((first > 2).all())
