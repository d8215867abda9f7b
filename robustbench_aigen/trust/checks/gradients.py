"""Checks on a detector's input gradients: whether a gradient-based attack can succeed.

After the flags of AutoAttack (Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness), the signs of
Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, section 3.1, and the indicators of Pintor et
al. 2022, Indicators of Attack Failure, for two classes. The thresholds keep ordinary detectors free of flags.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, make_stage
from robustbench_aigen.trust.check import DetectorCheck, check
from robustbench_aigen.trust.flags import Measurement

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_aigen.trust.probe_images import ProbeImages

_STEPS_IN_LEVELS = (1, 2, 4)
_SATURATED = 40.0
"""Nats beyond which the squares of the gradient of the cross-entropy (e⁻⁴⁰) leave float32, and with them its norm."""
_UNBOUNDED_SHARE = 0.05
_USABLE, _NOT_FINITE = 0, 2
_HELD, _FELL_IN_RUN = 1, 2


def unbounded_attack() -> Attack:
    """Return 50 steps of PGD with an L∞ budget of 0.5, which can turn every image into plain grey.

    From the image itself, without looking ahead: noise of that size is far from anything that the detector has seen,
    and may fool the detector with any gradient.
    """
    pgd = shipped_attack("pgd")
    given = {"norm": "linf", "eps": 0.5, "steps": 50, "random_start": False, "lookahead": False}
    return make_stage(pgd, given)


@check(
    "zero_gradients",
    meaning="the detector has input gradients that are zero or not finite, where attacks make no progress",
    when="at least 10 % of the probe images have a zero input gradient of the margin, or one gradient is not finite",
    on="detector",
    order=8,
)
class ZeroGradients(DetectorCheck):
    """The share of images whose gradient is zero or not finite."""

    on_survivors = True

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return N numbers: 1 for a gradient of zero, 2 for a gradient that is not finite, else 0."""
        gradients = images.input_gradients.gradients
        not_finite = ~gradients.isfinite().flatten(1).all(dim=1)
        answers = zero_gradients(gradients, images.is_inside).long()
        return answers.masked_fill(not_finite, _NOT_FINITE)

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the share of images without a gradient, and whether any gradient is not finite."""
        zero = float((answers != _USABLE).double().mean())
        not_finite = int((answers == _NOT_FINITE).sum())
        # Dead units leave single images without a gradient; none of the shipped detectors has one, and none a NaN.
        told = f"{100 * zero:.0f} % of {len(answers)} probe images have a gradient of zero or not finite"
        told += f" ({not_finite} NaN or infinite)" if not_finite else ""
        return Measurement(zero >= 0.1 or not_finite > 0, told)


@check(
    "saturated_logits",
    meaning=(
        "margins are so large that the cross-entropy has no gradient in float32: attacks of other libraries fail; "
        "native attacks do not depend on the cross-entropy"
    ),
    when="the median margin is above 40 nats, where the cross-entropy of other libraries has no gradient",
    on="detector",
    order=10,
)
class SaturatedLogits(DetectorCheck):
    """The lead of the right class in nats."""

    on_survivors = True

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return the N margins in nats."""
        return images.input_gradients.margins

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the median margin."""
        margin = pd.Series(answers.numpy()).median()
        told = f"the median margin of {len(answers)} probe images is {margin:.3g} nats"
        return Measurement(bool(margin > _SATURATED), f"{told} (more than {_SATURATED:.0f} is saturated)")


@check(
    "uninformative_gradients",
    meaning="a step along the gradient changes the verdict hardly more than a random step: attacks with gradients are not guided",
    when="a step along the gradient beats a random step on less than 75 % of the probe images",
    on="detector",
    order=9,
)
class UninformativeGradients(DetectorCheck):
    """The share of images for which a step along the gradient beats a random step; 50 % by chance."""

    attacks = (unbounded_attack(),)
    stepwise = True
    on_survivors = True

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return N booleans: whether the step beats the random step."""
        return gradient_informs(images)

    def is_clear(self, answers: "Tensor") -> bool:
        """Whether the step beats a random one for all of the first images."""
        return bool(answers.all())

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the share, which is 50 % by chance and 100 % for an ordinary detector."""
        share = float(answers.double().mean())
        # By chance, 24 of 32 happens in 0.4 % of cases, and so does 8 of 8.
        return Measurement(
            share < 0.75,
            f"a step along the gradient beats a random one for {100 * share:.0f} % of {len(answers)} probe images "
            "(50 % by chance)",
        )


@check(
    "unbounded_attack_fails",
    meaning=(
        "an attack with a very large budget does not fool every image: the attack fails, and the detector is not robust"
    ),
    when="50 steps of PGD with an L∞ budget of 0.5 fail on at least 5 % of the probe images",
    on="detector",
    order=11,
)
class UnboundedAttackFails(DetectorCheck):
    """The share of images that withstand an attack with a nearly unlimited budget."""

    attacks = (unbounded_attack(),)
    stepwise = True
    on_survivors = True

    def known(self, records: pd.DataFrame) -> Mapping[str, float]:
        """Return the images that an attack of the run fooled with a smaller budget; a larger budget fools them, too."""
        budget = float(self.attacks[0].params["eps"] or 0)
        plain = records["attacked"] & records["correct_clean"] & (records["linf"] <= budget)
        return dict.fromkeys(records.loc[plain & ~records["correct"], "sample"], _FELL_IN_RUN)

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return N numbers: 1 for an image that withstands the attack, else 0."""
        return images.held(self.attacks[0]).long()

    def is_clear(self, answers: "Tensor") -> bool:
        """Whether none of the first images withstands the attack."""
        return not bool((answers == _HELD).any())

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the share of images that withstand the attack."""
        held, known = answers == _HELD, int((answers == _FELL_IN_RUN).sum())
        share = float(held.double().mean())
        of_run = f" ({known} of them fell to an attack of the run)" if known else ""
        return Measurement(
            int(held.sum()) >= 2 and share >= _UNBOUNDED_SHARE,
            f"50 steps of PGD with an L∞ budget of 0.5 leave {100 * share:.0f} % of {len(answers)} probe images{of_run}",
        )


def zero_gradients(gradients: "Tensor", is_inside: "Tensor | None" = None) -> "Tensor":
    """Whether a gradient is zero or not finite, N booleans for N×3×H×W.

    A gradient also counts as zero if 99 % of an image's values are zero, among the values with a gradient in any image.
    So the pixels that a crop removes are not counted; neither are pixels outside ``inside``, N×H×W booleans.
    """
    nonzero = gradients != 0
    reached = nonzero.any(dim=0).expand_as(nonzero)
    if is_inside is not None:
        reached = reached & is_inside[:, None]
    vanishes = nonzero.sum(dim=(1, 2, 3)) <= 0.01 * reached.sum(dim=(1, 2, 3))
    return vanishes | ~gradients.isfinite().flatten(1).all(dim=1)


def gradient_informs(images: "ProbeImages") -> "Tensor":
    """Whether a step against the gradient of the margin lowers it more than a random step does, N booleans.

    Both steps are of 1, 2 and 4 levels in every value, in the sign of the gradient or in random signs, on the 8-bit
    grid; the greater part of the three decides. Half of the images pass by chance where the gradient says
    nothing; a step that changes nothing does not pass. That catches what :func:`zero_gradients` does not: gradients
    of a branch or an approximation that the verdict does not depend on.
    """
    from robustbench_aigen.numerics.eight_bit import LEVELS
    from robustbench_aigen.numerics.seeding import draw_padded

    streams, shape = images.streams.for_restart(0), images.levels.shape[1:]
    random = draw_padded(streams, shape, images.sizes, lambda own, size: own.uniform(-1, 1, size))
    gradients = images.input_gradients.gradients
    won = 0 * images.labels
    for size in _STEPS_IN_LEVELS:
        followed, drawn = (
            images.margins((images.levels - size * direction.sign().nan_to_num()).clamp(0, LEVELS).byte())
            for direction in (gradients, random)
        )
        won += followed < drawn
    return 2 * won > len(_STEPS_IN_LEVELS)
