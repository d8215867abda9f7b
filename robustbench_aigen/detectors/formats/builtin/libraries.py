"""Formats of other libraries. No function imports torch before a model is loaded."""

from typing import TYPE_CHECKING

from robustbench_aigen.detectors.format import detector_format

if TYPE_CHECKING:
    from robustbench_aigen.detectors.formats.request import Loaded, Request


@detector_format(
    prefix="hf",
    trust="for models with code of their own",
    written="hf:FOLDER, hf:ORG/NAME",
    what="image classifier of transformers, with its image processor",
    order=2,
)
def load_transformers(request: "Request") -> "Loaded":
    """Load an image classifier of transformers."""
    from robustbench_aigen.detectors.formats import transformers_model

    return transformers_model.load_transformers(request)


@detector_format(
    prefix="timm",
    written="timm:FOLDER, timm:ORG/NAME",
    what="model of timm, with its configuration",
    order=3,
)
def load_timm(request: "Request") -> "Loaded":
    """Load a model of timm."""
    from robustbench_aigen.detectors.formats import timm_model

    return timm_model.load_timm(request)


@detector_format(
    suffixes=(".onnx",),
    gradients="through onnx2torch, else scores only",
    what="ONNX",
    order=4,
)
def load_onnx(request: "Request") -> "Loaded":
    """Load an ONNX model."""
    from robustbench_aigen.detectors.formats import onnx_model

    return onnx_model.load_onnx(request)


@detector_format(
    suffixes=(".keras", ".h5", ".hdf5"),
    trust="for Lambda layers and layers from outside Keras",
    written="FILE.keras, FILE.h5",
    what="Keras model, on torch",
    order=7,
)
def load_keras(request: "Request") -> "Loaded":
    """Load a Keras model."""
    from robustbench_aigen.detectors.formats import keras_model

    return keras_model.load_keras(request)


@detector_format(
    suffixes=(".skops",),
    gradients="no: scores only",
    trust="for types that skops does not trust",
    what="scikit-learn classifier of flattened pixels",
    order=8,
)
def load_skops(request: "Request") -> "Loaded":
    """Load a scikit-learn classifier."""
    from robustbench_aigen.detectors.formats import scikit_learn

    return scikit_learn.load_skops(request)
