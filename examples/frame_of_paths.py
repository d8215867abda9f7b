"""Evaluate a shipped detector on a data frame of paths."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image

from robustbench_aigen import ImageData, evaluate, perturbations

with TemporaryDirectory() as folder:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(Path(folder) / f"{number}.png")
    frame = pd.DataFrame({"path": [f"{number}.png" for number in range(8)], "label": ["real", "fake"] * 4})
    data = ImageData.from_frame(frame, folder=folder)
    run = evaluate("minigen/lenet5", data, [perturbations.jpeg(quality=[90, 50])])
print(run.summary[["detector", "pipeline", "generator", "n", "accuracy"]])
