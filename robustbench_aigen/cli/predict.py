"""``robust-aigen predict``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, print_table, say, say_notice, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.scenario.words import printable
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.thresholds import Threshold
    from robustbench_aigen.engine.calling import Attacked, NoVerdict, Prediction, Predictor, UnreadablePicture
    from robustbench_aigen.notices import Notice
    from robustbench_aigen.stages.stage import Attack

_REPEATED = 16
"""Number of pictures that are scored several times."""


class Class(StrEnum):
    """The two classes."""

    real = "real"
    fake = "fake"


def predict(
    image: Annotated[list[Path], typer.Argument(help="Image files, or folders with images at any depth.")],
    detector: Annotated[
        str,
        typer.Option(
            help="An id, a file (weights together with --arch), timm:…, hf:…, python:…, or {path: FILE, …} as in a scenario."
        ),
    ],
    arch: Annotated[str | None, typer.Option(help="Architecture of a weights file.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    threshold: Annotated[str, typer.Option(help="Scores of at least this threshold are fake.")] = "0.5",
    attack: Annotated[
        str | None,
        typer.Option(help="Attack every image with this recipe (see list attacks)."),
    ] = None,
    eps: Annotated[str | None, typer.Option(help="Budget of the attack in pixel units: 4/255.")] = None,
    norm: Annotated[str | None, typer.Option(help="Norm of the budget: linf or l2.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other parameter of the attack, written as in a scenario: steps=50. Repeatable.",
        ),
    ] = None,
    label: Annotated[
        Class | None,
        typer.Option(help="True class of the images, for the attack; by default the detector's own verdict."),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write the attacked images to this folder, as 8-bit PNG."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    _plugin: Plugins = None,
) -> None:
    """Score single images, before and after an attack.

    Scores and verdicts follow the rules of a run: 8-bit images, float32, inside the budget. Unreadable images are
    named and skipped.
    """
    from robustbench_aigen.cli.pictures import choose_targets, find_pictures
    from robustbench_aigen.detectors.description import describe_detector, describe_padding
    from robustbench_aigen.detectors.loading import load_detector
    from robustbench_aigen.detectors.remote.network import services_of
    from robustbench_aigen.detectors.remote.service import usage_text
    from robustbench_aigen.engine.calling import NoVerdict, Predictor
    from robustbench_aigen.notices import Notice
    from robustbench_aigen.numerics.precision import resolve_device
    from robustbench_aigen.scenario.detector_spec import DetectorSpec

    stage = _attack(attack, eps, norm, set_ or [], {"--label": label, "--save": save})
    files, passed_over = find_pictures(image)
    targets = {} if save is None else choose_targets(files, Path(save))
    target = resolve_device(device)
    loaded = load_detector(detector, arch=arch, device=target, trust_code=trust_code)
    assumed = _assumed(loaded)
    if assumed:
        # The first line on the screen, because the verdicts depend on it.
        say(f"{loaded.name}: {assumed}", err=json_output)
    notices = [*map(Notice, passed_over), *describe_detector(loaded)]
    for notice in notices:
        say_notice(notice, err=True)
    surrogate = None
    if stage is not None and isinstance(stage.surrogate, DetectorSpec):
        surrogate = load_detector(stage.surrogate, device=target, trust_code=trust_code)
    if stage is not None and label is None:
        say("no --label: the attack tries to reverse the detector's own verdict on each image", err=True)
    meant = None if label is None else int(label is Class.fake)
    predictor = Predictor(loaded, _threshold(threshold), stage, meant, surrogate)
    notices += _flags(predictor, list(files))
    done, unreadable = _predictions(predictor, list(files), targets)
    silent = [each for each in done if isinstance(each, NoVerdict)]
    notices += describe_padding(loaded, [each.shape for each in done if not isinstance(each, NoVerdict)])
    if json_output:
        rows = [_as_dict(prediction, targets) for prediction in done]
        print_json(
            {
                "detector": loaded.name,
                "assumed": assumed or None,
                "threshold": predictor.threshold.score,
                "attack": None if stage is None else stage.to_dict(),
                "notices": [notice.as_dict() for notice in notices],
                "predictions": rows,
                "unreadable": [
                    {"image": printable(each.image), "reason": each.reason} for each in unreadable
                ],
            }
        )
    else:
        _print(predictor, done)
        if unreadable:
            say(
                f"{counted(len(unreadable), 'picture could not be read and was', 'pictures could not be read and were')} skipped (named above)"
            )
        say_warnings(notices)
    if targets and len(done) > len(silent):
        say(f"{len(done) - len(silent)} attacked pictures written to {save}", err=json_output)
    services = services_of(loaded, *([surrogate] if surrogate is not None else []))
    for service in services:
        say(f"{service.name}: {usage_text(service)}", err=True)
    _refuse_silence(silent, len(done))


def _flags(predictor: "Predictor", files: list[Path]) -> "list[Notice]":
    """Return the flags of detectors whose outputs depend on the batch or on the call."""
    from robustbench_aigen.engine.calling import Picture, read_picture
    from robustbench_aigen.engine.examination import examine, judge_repeats
    from robustbench_aigen.notices import warning
    from robustbench_aigen.trust.check import Checks

    detector = predictor.detector
    pictures = [each for each in map(read_picture, files[:_REPEATED]) if isinstance(each, Picture)]
    levels, names = [each.levels for each in pictures], [str(each.file) for each in pictures]
    repeated = examine(detector, levels, names, detector.device, needs_finite=False)
    measured = {} if repeated is None else judge_repeats(repeated, Checks())
    flags = [
        warning(f"{flag}: {each.evidence}", detector.name) for flag, each in measured.items() if each.raised
    ]
    for flag in flags:
        say_notice(flag, err=True)
    return flags


def _refuse_silence(silent: "list[NoVerdict]", count: int) -> None:
    """Exit with code 2 if pictures have no verdict."""
    if silent:
        first, more = silent[0], f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        say(f"error: no verdict on {printable(first.image)}{more} of {count}: {first.reason}", err=True)
        raise typer.Exit(2)


def _assumed(detector: "Detector") -> str:
    """Return the undeclared settings that the verdicts assume; empty if all settings are declared."""
    from robustbench_aigen.detectors.ensembles import Ensemble

    if isinstance(detector, Ensemble):
        assumptions = [(member.name, _assumed(member)) for member in detector.members]
        return "; ".join(f"{name} {text}" for name, text in assumptions if text)
    own, declared, parts = detector.preprocessing, detector.declared, []
    if "fake_index" not in declared:
        parts.append(
            f"output {own.fake_index} means fake (of a single number: {'high' if own.fake_index else 'low'})"
        )
    if not {"mean", "std"} <= declared:
        parts.append("the network receives pixels in [0, 1]")
    return f"assumed, because undeclared: {', '.join(parts)}" if parts else ""


def _attack(
    attack: str | None, eps: str | None, norm: str | None, settings: list[str], others: "Mapping[str, object]"
) -> "Attack | None":
    from robustbench_aigen.documents.located_yaml import yaml_value
    from robustbench_aigen.errors import UserError

    given: dict[str, object] = {
        name: value for name, value in (("eps", eps), ("norm", norm)) if value is not None
    }
    if attack is None:
        needing = [f"--{name}" for name in given] + ["--set"] * bool(settings)
        needing += [option for option, value in others.items() if value is not None]
        if needing:
            raise UserError(
                f"{needing[0]} needs --attack",
                hint="add --attack pgd, or another attack; robust-aigen list attacks lists all",
            )
        return None
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or name == "attack":
            raise UserError(f"--set {text} is not of the form NAME=VALUE", hint="--set steps=50")
        if name in given:
            raise UserError(f"{name} is given twice")
        try:
            given[name] = yaml_value(value)
        except ValueError:
            raise UserError(
                f"--set {name}: '{value}' is not a value", hint="write the value as in a scenario"
            ) from None
    return _bound(attack, given)


def _bound(attack: str, given: "Mapping[str, object]") -> "Attack":
    """Return the stage of a recipe with its parameters, as in a scenario."""
    from robustbench_aigen.attacks.requirements import check_attack
    from robustbench_aigen.documents.document import validated_part
    from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.detector_spec import DetectorSpec
    from robustbench_aigen.stages.stage import Attack, stage_from_dict

    def surrogate(value: object) -> DetectorSpec:
        return validated_part(DetectorSpec, value, LocatedYaml(NOWHERE, {}), ("surrogate",))

    try:
        stage = stage_from_dict({**given, "attack": attack}, Path(), surrogate)
        assert isinstance(stage, Attack)
        if not stage.is_swept:
            check_attack(stage)
    except UserError as error:
        # The parameters come from the command line: no file and no line to name.
        raise UserError(error.message, hint=error.hint) from None
    if stage.is_swept:
        raise UserError("give one value for each parameter; sweeps need a scenario")
    return stage


def _threshold(text: str) -> "Threshold":
    from robustbench_aigen.detectors.thresholds import Threshold
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.stages.parameters import read_fraction

    number = read_fraction(text)
    if number is None or not 0 < number < 1:
        raise UserError(f"--threshold must be a number between 0 and 1, not '{text}'")
    return Threshold.at(number)


def _predictions(
    predictor: "Predictor", files: list[Path], targets: dict[Path, Path]
) -> "tuple[list[Prediction | NoVerdict], list[UnreadablePicture]]":
    """Predict and save in a stream, with at most some hundred pictures in memory."""
    from robustbench_aigen.cli.pictures import write_png
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.engine.calling import NoVerdict, UnreadablePicture
    from robustbench_aigen.errors import UserError

    done: list[Prediction | NoVerdict] = []
    unreadable: list[UnreadablePicture] = []
    with shown_progress() as progress:
        progress.start(len(files))
        progress.work_on(predictor.detector.name, "predict" if predictor.attack is None else "attack")
        for each in predictor.predict(files, progress.advance):
            if isinstance(each, UnreadablePicture):
                unreadable.append(each)
                progress.notice(f"skipped {printable(each.image)}: {each.reason}")
            elif isinstance(each, NoVerdict):
                done.append(each)
            elif each.attacked is not None:
                if targets and each.attacked.levels is not None:
                    write_png(targets[each.image], each.attacked.levels)
                done.append(each._replace(attacked=each.attacked._replace(levels=None)))
            else:
                done.append(each)
    if not done:
        raise UserError(f"no picture can be read ({len(files)} tried)")
    return done, unreadable


def _print(predictor: "Predictor", done: "list[Prediction | NoVerdict]") -> None:
    from robustbench_aigen.engine.calling import NoVerdict

    rows = []
    for prediction in done:
        if isinstance(prediction, NoVerdict):
            rows.append({"image": printable(prediction.image), "score": "–", "verdict": "none"})
            continue
        row = {
            "image": printable(prediction.image),
            "score": f"{prediction.score:.4f}",
            "verdict": _name(prediction.verdict),
        }
        after = prediction.attacked
        if after is not None:
            row |= {
                "then": f"{after.score:.4f}",
                "verdict then": _name(after.verdict),
                **_distance(predictor.attack, after),
                "fooled": "yes" if after.fooled else "no",
            }
        rows.append(row)
    title = f"{predictor.detector.name}: probability of fake, threshold {predictor.threshold.score:.4g}"
    if predictor.attack is not None:
        title += f"; {_description(predictor.attack)}"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_table([{name: row.get(name, "–") for name in columns} for row in rows], title)


def _distance(stage: "Attack | None", after: "Attacked") -> dict[str, str]:
    """Return the distance of an attacked picture from the original, in the norm of the budget."""
    if stage is not None and stage.params["norm"] == "l2":
        return {"L2": f"{after.l2:.3f}"}
    return {"L∞": f"{255 * after.linf:.0f}/255"}


def _description(stage: "Attack") -> str:
    own = stage.recipe.parameters
    shown = [
        f"{name}={own[name].write(value)}"
        for name, value in stage.params.items()
        if name in ("norm", "eps", "steps")
    ]
    return f"{stage.recipe.name} {' '.join(shown)}"


def _as_dict(prediction: "Prediction | NoVerdict", targets: dict[Path, Path]) -> dict[str, object]:
    from robustbench_aigen.engine.calling import NoVerdict

    if isinstance(prediction, NoVerdict):
        return {
            "image": printable(prediction.image),
            "score": None,
            "verdict": None,
            "reason": prediction.reason,
        }
    row: dict[str, object] = {
        "image": printable(prediction.image),
        "score": prediction.score,
        "log_odds": prediction.log_odds,
        "verdict": _name(prediction.verdict),
    }
    after = prediction.attacked
    if after is not None:
        attacked: dict[str, object] = {
            "label": _name(after.label),
            "score": after.score,
            "log_odds": after.log_odds,
            "verdict": _name(after.verdict),
            "fooled": after.fooled,
            "linf": after.linf,
            "l2": after.l2,
            "steps": after.steps,
            "queries": after.queries,
        }
        if prediction.image in targets:
            attacked["saved"] = printable(targets[prediction.image])
        row["attacked"] = attacked
    return row


def _name(label: int) -> str:
    return ("real", "fake")[label]
