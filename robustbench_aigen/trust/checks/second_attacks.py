"""Checks with a second attack on images that withstood the first: with more steps, or without gradients."""

from robustbench_aigen.stages.masks import MASK
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, make_stage
from robustbench_aigen.trust.attack_cells import AttackCell
from robustbench_aigen.trust.check import check
from robustbench_aigen.trust.sequential import POINTS, NextAttack, Withstood

_MORE_STEPS = 5
_QUERIES, _FEW_QUERIES = 250, 100


@check(
    "loss_still_rising",
    meaning="more steps of the same attack fool more images: the attack has not converged",
    when="five times as many steps lower the accuracy by clearly more than five points",
    on="survivors",
    order=12,
)
def loss_still_rising(withstood: Withstood) -> NextAttack | None:
    """Return the attack with five times the steps."""
    more = more_steps(withstood.stage, quick=withstood.quick)
    return None if more is None else NextAttack("five times the steps", more)


@check(
    "black_box_beats_white_box",
    meaning=(
        "an attack without gradients fools images that withstood the attack with gradients: the gradients mislead, or the attack is too weak, and the accuracy is too high"
    ),
    when="100 or 250 queries of Square lower the accuracy by clearly more than five points, or an attack without gradients in the same run is clearly stronger",
    on=("pair", "survivors"),
    order=13,
)
class BlackBoxOfSurvivors:
    """A black box against an attack with gradients: an attack of the run, or Square on the surviving images."""

    def pair(self, cell: AttackCell, other: AttackCell) -> bool:
        """Whether the second attack is a black box under the threat model of the first, which has gradients."""
        is_black_box = other.access != "gradients" and not other.is_transfer
        return cell.is_direct and is_black_box and cell.faces(other)

    def survivors(self, withstood: Withstood) -> NextAttack | None:
        """Return Square, unless the run contains Square or a larger eps shows that the gradients are useful."""
        box = black_box(withstood.stage, quick=withstood.quick)
        if box is None or (withstood.quick and withstood.held_at_largest <= POINTS):
            return None
        for pipeline in withstood.pipelines:
            if len(pipeline.stages) == 1 and any(includes(each, box) for each in pipeline.attacks):
                return None
        return NextAttack(f"{box.params['steps']} queries of Square, without gradients,", box)


def more_steps(stage: Attack, *, quick: bool) -> Attack | None:
    """Return the attack with five times its steps; None without steps.

    The step size and the random start stay, so that the same search continues (Pintor et al. 2022 on attacks
    that have not converged). Where ``quick``, an attack of several parts continues with the first part.
    """
    from robustbench_aigen.attacks.native.ensemble import parts_of

    if quick:
        stage = parts_of(stage)[0]
    if "steps" not in stage.params:
        return None
    return stage.with_values(steps=_MORE_STEPS * int(stage.params["steps"] or 1))


def black_box(stage: Attack, *, quick: bool) -> Attack | None:
    """Return Square with the norm and eps of an attack; None where the attack tries as many queries itself."""
    from robustbench_aigen.attacks.native.ensemble import parts_of

    square = shipped_attack("square")
    threat = {name: stage.params[name] for name in ("norm", "eps", MASK) if name in stage.params}
    found = make_stage(square, {**threat, "steps": _FEW_QUERIES if quick else _QUERIES})
    return None if any(includes(part, found) for part in parts_of(stage)) else found


def includes(stage: Attack, black_box: Attack) -> bool:
    """Whether an attack is the black box itself, with at least its queries."""
    alike = stage.recipe.name == black_box.recipe.name and not (stage.through or stage.surrogate)
    return (
        alike
        and all(stage.params.get(name) == black_box.params.get(name) for name in ("norm", "eps", MASK))
        and int(stage.params["steps"] or 1) >= int(black_box.params["steps"] or 1)
    )
