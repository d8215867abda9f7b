"""Models in timm's own form: ``timm:FOLDER`` as ``save_for_hf`` writes it, ``timm:ORGANISATION/NAME`` of the hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustbench_aigen.detectors.architectures import TIMM, check_architecture, timm_preprocessing
from robustbench_aigen.detectors.archives import LARGEST_TEXT, beginning
from robustbench_aigen.detectors.formats.hub import model_folder, stored_precision, weight_files
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import GroupedLogits
from robustbench_aigen.detectors.identity import files_hash
from robustbench_aigen.detectors.outputs import meanings_of
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library


def load_timm(request: Request) -> Loaded:
    """Load a folder with ``config.json`` and weights.

    Raises
    ------
    UserError
        If it is no such folder, or names an architecture alone: whose weights know nothing of fakes.
    """
    place = request.place.removeprefix("hf-hub:").removeprefix("hf_hub:")
    if "/" not in place and not request.path.is_dir():
        check_architecture(TIMM + place)
        raise UserError(
            f"'timm:{place}' is an architecture without weights of a detector",
            hint=f"give yours: {{path: FILE, arch: timm:{place}}}, or --detector FILE --arch timm:{place}",
        )
    timm = import_library("timm", extra="timm", what=f"'timm:{place}'")
    folder = model_folder(request, TIMM, "timm")
    config = _config(folder / "config.json")
    try:
        # Its weights are read with weights_only.
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # Files that do not fit raise whatever building and loading raise.
        raise UserError(f"cannot be loaded by timm: {first_line(error)}", file=folder) from error
    metadata = timm_preprocessing(network)
    meanings = meanings_of(_label_names(config))
    if meanings.fake_index is not None:
        metadata["fake_index"] = meanings.fake_index
    elif meanings.fake and network.num_classes > 2:
        network = GroupedLogits(network, meanings.real, meanings.fake)
        metadata["fake_index"] = 1
    digest = files_hash(weight_files(folder))
    notes = stored_precision(folder)
    return Loaded(network, f"timm:{config['architecture']}", digest, metadata, notes, libraries=("timm",))


def _label_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes in their order; they are a list, or a mapping from the index."""
    names = config.get("label_names") or config["pretrained_cfg"].get("label_names") or []
    if isinstance(names, dict):
        names = [names[index] for index in sorted(names, key=int)]
    return [str(name) for name in names]


def _config(file: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(beginning(file, LARGEST_TEXT))
    except (ValueError, RecursionError) as error:
        raise UserError(f"is no configuration of timm: {first_line(error)}", file=file) from error
    if not isinstance(config, dict) or "architecture" not in config or "pretrained_cfg" not in config:
        raise UserError(
            "is no configuration of timm: it names no architecture and no preprocessing",
            file=file,
            hint="of transformers it is hf:FOLDER" if "model_type" in list(config) else None,
        )
    return config
