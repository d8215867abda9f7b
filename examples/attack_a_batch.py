"""Attack one batch and print the result."""

import torch

from robustbench_aigen import attacks, load_detector

detector = load_detector("minigen/lenet5")
images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
labels = detector.predict(images)
result = attacks.pgd(eps=4 / 255, steps=10)(detector, images, labels)
print(f"{int(result.success.sum())} of {len(labels)} verdicts turned")
print(f"largest perturbation: {float(result.linf.max() * 255):.0f}/255")
print("scores:", [round(float(score), 3) for score in result.score])
