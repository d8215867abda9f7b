"""pytest fixture of the regression gate: ``robust_gate(current, baseline)`` fails the test if the gate fails.

pytest loads this by its entry point in every project that has the package installed: it imports nothing heavy.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustbench_aigen.views.gating.result import GateResult


@pytest.fixture
def robust_gate() -> "Callable[..., GateResult]":
    """Compare a run with a baseline and fail the test if the run is less robust, with a sentence per number.

    The fixture takes the run, the baseline and the options of the gate, and returns the result of the gate.
    """

    def hold(current: Any, baseline: Any, **options: Any) -> "GateResult":
        from robustbench_aigen.errors import UserError
        from robustbench_aigen.views.gating.result import sentence
        from robustbench_aigen.views.gating.verdict import gate

        try:
            result = gate(current, baseline, **options)
        except UserError as error:
            pytest.fail(f"gate: {error}", pytrace=False)
        if not result.passed:
            failures = [sentence(row) for row in result.failures.to_dict(orient="records")]
            pytest.fail("\n".join([result.headline, *failures, result.rule]), pytrace=False)
        return result

    return hold
