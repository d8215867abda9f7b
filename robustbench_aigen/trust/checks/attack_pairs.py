"""Checks on two attacks of one run on a detector.

The signs are those of Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, section 3.1, and of
Carlini et al. 2019, On Evaluating Adversarial Robustness.
"""

from robustbench_aigen.trust.attack_cells import AttackCell
from robustbench_aigen.trust.check import check


@check(
    "transfer_beats_direct",
    meaning=(
        "images crafted against another detector fool this detector more often than images crafted against the detector itself: its gradients mislead the attack, and the accuracy is too high"
    ),
    when="images crafted against another detector in the same run are clearly stronger",
    on="pair",
    order=14,
)
def transfer_beats_direct(cell: AttackCell, other: AttackCell) -> bool:
    """Whether the second attack transfers from another detector, under the threat model of the first."""
    return cell.is_direct and other.is_transfer and cell.faces(other)


@check(
    "larger_eps_not_stronger",
    meaning=("the same attack leaves a higher accuracy than at a smaller eps, although its budget is larger"),
    when="the same attack with a smaller eps in the same run is clearly stronger",
    on="pair",
    order=15,
)
def larger_eps_not_stronger(cell: AttackCell, other: AttackCell) -> bool:
    """Whether the second attack is the first with a smaller eps."""
    return cell.sweeps_with(other) and float(other.attack["eps"] or 0) < float(cell.attack["eps"] or 0)
