"""Draws the pictures of the README and of the site's first page into ``docs/images``.

    python -m benchmarks.pictures

``curves.png`` is the figure of the scenario ``pgd_sweep`` in its report. ``attacked.png`` shows an image of minigen before
and after PGD, and the difference of the two.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from robustbench_aigen import Run, Scenario, attacks, evaluate
from robustbench_aigen.cli.progress import shown_progress
from robustbench_aigen.views.figures.drawing import style

DETECTOR, EPS, AMPLIFIED = "minigen/cifake_cnn", 4, 16
"""The attacked detector, the budget in 8-bit levels, and the factor of the drawn difference."""


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=Path("docs/images"))
    parser.add_argument("--limit", type=int, help="images of the curves; by default as in the scenario")
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, shown_progress() as progress:
        scenario = Scenario.from_yaml("pgd_sweep")
        if arguments.limit:
            scenario = scenario.replace(data={"source": "minigen", "limit": arguments.limit})
        scenario.run(folder, progress=progress).report(f"{folder}/report")
        shutil.copy(f"{folder}/report/figures/curves.png", arguments.target)
    data = {"source": "minigen", "limit": 100}
    run = evaluate(DETECTOR, data, {"pgd": attacks.pgd(eps=f"{EPS}/255")}, objective="fake_to_real")
    with style():
        drawn = attacked(run)
        drawn.savefig(arguments.target / "attacked.png", dpi=110)


def attacked(run: Run) -> Figure:
    """Return a figure of the fooled image with the median score after the attack.

    Raises
    ------
    ValueError
        If the run has no attacked image that fooled the detector.
    """
    fooled = [
        each for each in run.adversarial_examples if each.record["attacked"] and not each.record["correct"]
    ]
    if not fooled:
        raise ValueError("no image of the run fooled the detector")
    record, original, image = sorted(fooled, key=lambda each: _number(each.record["score"]))[len(fooled) // 2]
    before, after = (np.asarray(each.convert("RGB")).astype(int) for each in (original, image))
    change = 128 + AMPLIFIED * (after - before)
    panels = (
        (before, "generated image", f"judged AI-generated: {_number(record['clean_score']):.1%}"),
        (after, f"after PGD at {EPS}/255", f"judged AI-generated: {_number(record['score']):.1%}"),
        (change, f"difference × {AMPLIFIED}", f"at most {np.abs(after - before).max()} of 255 levels"),
    )
    figure = Figure(figsize=(7.2, 2.75), layout="constrained")
    for axes, (pixels, title, below) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(pixels.clip(0, 255).astype(np.uint8), interpolation="nearest")
        axes.set_title(title)
        axes.set_xlabel(below)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _number(value: object) -> float:
    return float(str(value))


if __name__ == "__main__":
    main()
