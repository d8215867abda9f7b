"""A report in which every name that a user can choose tries to be something else."""

import json
from pathlib import Path

from conftest import write_image

from robustbench_aigen.evaluation import run
from robustbench_aigen.views.report import report

DETECTOR = r"""<script>alert(1)</script>\input{/etc/passwd}_$x^2$ & 100% #1 ~ "q" 'a' | **b** [l](http://x) 探测 é 😀"""
GENERATOR = r"<img src=x onerror=alert(2)> \end{tabular} $y_1$ & %{"
FILE = r"<b onclick=alert(3)>\def\x{&}.png"
SUMMARY = r"</title><script>alert(4)</script> \write18{ls} 5 % of it"


def hostile_report(folder: Path) -> Path:
    """Make a run with such names, flagged, and its whole report; return the run folder."""
    for number in range(8):
        write_image(folder / "images" / GENERATOR / "nature" / f"{number}.png", number, fake=False)
        write_image(folder / "images" / GENERATOR / "ai" / f"{number}.png", 50 + number, fake=True)
        write_image(folder / "images" / "other" / "ai" / f"{number}.png", 80 + number, fake=True)
    (folder / "images" / "other" / "ai" / FILE).write_bytes(b"no image")
    (folder / "scenario.yaml").write_text(
        json.dumps(
            {
                "version": 1,
                "name": "hostile",
                "summary": SUMMARY,
                "data": {"source": "images", "split": "all"},
                "detectors": [{"id": "minigen/lenet5", "name": DETECTOR}, "minigen/lenet5@flow"],
                "mode": "score",
                "pipelines": {
                    "p_$1$<i>": [{"attack": "pgd", "eps": ["1/255", "2/255", "5.5/255"], "steps": 2}],
                    "lr": [{"perturb": "resize_to", "side": [112, 64]}],
                    "jpeg": [{"perturb": "jpeg", "quality": [90, 65, 30]}],
                    "blur": [{"perturb": "gaussian_blur", "sigma": [1, 3, 5]}],
                },
            },
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )
    return report([run(folder / "scenario.yaml", output=folder / "out").folder])
