"""Evaluate a module of your own: accuracy, PGD, an upload, and an attack that knows of the upload."""

import torch
from torch import nn

from robustbench_aigen import Detector, ImageData, attacks, evaluate, perturbations

torch.manual_seed(0)
module = nn.Sequential(
    nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
)
detector = Detector(module, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), input_size=(32, 32), name="mine")
run = evaluate(
    detector,
    ImageData.open("minigen", limit=16),
    {
        "pgd": attacks.pgd(eps=["1/255", "4/255"], steps=5),
        "upload": [attacks.pgd(eps=4 / 255, steps=5), perturbations.jpeg(quality=[95, 75])],
        "aware": attacks.pgd(eps=4 / 255, steps=5, through=[perturbations.jpeg(quality=75)]),
    },
)
for pipeline in run.pipelines:
    print(f"{pipeline}: {run.accuracy(pipeline):.3f}")
print(f"worst case of pgd: {run.worst_case('pgd'):.3f}")
