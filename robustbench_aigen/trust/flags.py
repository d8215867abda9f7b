"""The flags of the ``trust`` column, what they mean, and where one was raised."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A flag of the ``trust`` column and what it means."""

    flag: str
    meaning: str


class Raised(NamedTuple):
    """A flag on a cell, with the measured value in a sentence."""

    flag: str
    detector: str
    pipeline: str
    evidence: str


ONE_CLASS = Finding(
    "one_class", "the detector gives nearly every image the same verdict; its accuracy is the class balance"
)
WORSE_THAN_CHANCE = Finding(
    "worse_than_chance",
    "the detector ranks real images above AI-generated ones: its outputs are probably exchanged (fake_index), and "
    "every number is mirrored",
)
ROUNDING = Finding(
    "lost_to_rounding",
    "the attack succeeds on float images and fails on the 8-bit ones an attacker could upload",
)
FLOORED = Finding(
    "eps_floored", "eps is not a whole number of 8-bit levels; the budget was rounded down to one"
)
OWN_QUALITY = Finding(
    "jpeg_at_own_quality",
    "the last JPEG has the quality that the data is stored at, and takes images back to where they were",
)
BLACK_BOX = Finding(
    "black_box_beats_white_box",
    "an attack without gradients fools images that the one with gradients does not: that one is misled by the "
    "gradients, or too weak, and the accuracy is too high",
)
TRANSFER = Finding(
    "transfer_beats_direct",
    "images made against another detector fool this one more often than those made against it: its own gradients "
    "mislead the attack, and the accuracy is too high",
)
LARGER_EPS = Finding(
    "larger_eps_not_stronger",
    "the same attack leaves a higher accuracy than with a smaller eps, all of whose images it could have used",
)
ZERO_GRADIENTS = Finding(
    "zero_gradients",
    "the detector has input gradients that are zero or not finite: an attack stands still there",
)
UNINFORMATIVE = Finding(
    "uninformative_gradients",
    "a step along the gradient does hardly more to the verdict than a random one: attacks with gradients are blind",
)
STOCHASTIC = Finding(
    "stochastic_output",
    "the detector answers the same image differently from call to call; gradients have to be averaged (eotpgd)",
)
DEPENDS_ON_BATCH = Finding(
    "depends_on_batch",
    "the answer for an image depends on the other images of its batch (training mode, statistics over the "
    "batch): the numbers are those of these batches",
)
SATURATED = Finding(
    "saturated_logits",
    "margins are so large that the cross-entropy has no gradient in float32: attacks of other libraries fail; "
    "the native ones do not depend on it",
)
UNBOUNDED = Finding(
    "unbounded_attack_fails",
    "an attack that may change everything does not fool every image: the attack is at fault, not the detector good",
)
STILL_RISING = Finding(
    "loss_still_rising", "more steps of the same attack fool more images: it has not converged"
)
UNCHECKED = Finding(
    "unchecked", "nobody looked whether the detector hides its gradients or the attack is too weak"
)
PROBES_OF_DETECTORS = (ZERO_GRADIENTS.flag, UNINFORMATIVE.flag, SATURATED.flag, UNBOUNDED.flag)
"""What images that a detector gets right are probed for."""
PROBES_OF_ATTACKS = (STILL_RISING.flag, BLACK_BOX.flag)
"""What images that withstood an attack are probed for."""
FINDINGS = (
    ONE_CLASS,
    WORSE_THAN_CHANCE,
    DEPENDS_ON_BATCH,
    STOCHASTIC,
    ROUNDING,
    FLOORED,
    OWN_QUALITY,
    ZERO_GRADIENTS,
    UNINFORMATIVE,
    SATURATED,
    UNBOUNDED,
    STILL_RISING,
    BLACK_BOX,
    TRANSFER,
    LARGER_EPS,
    UNCHECKED,
)
"""Every flag, in the order of the report."""
