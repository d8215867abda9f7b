"""The time estimate before a fine-tuning: training and report."""

from robustbench_aigen.engine.estimate import write_duration
from robustbench_aigen.text import counted
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.report_size import ReportSize


def forecast(
    tuning: FineTuning, spent: float, training: float, report: ReportSize | None, *, goes_on: bool
) -> str:
    """Return the forecast in a line.

    Parameters
    ----------
    tuning
        The file.
    spent
        Seconds since the command began: loading, decoding, the first validation.
    training
        Seconds of the training.
    report
        The size of the report, or None without a report.
    goes_on
        Whether some of the training is done.
    """
    at_most = "about" if tuning.early_stopping is None and not goes_on else "at most"
    parts = [f"{write_duration(spent)} so far", f"training {at_most} {write_duration(training)}"]
    total = spent + training
    if report is not None:
        total += report.seconds
        left_out = ", ".join(report.depth.reductions(tuning.report.queries))
        parts.append(
            f"report about {write_duration(report.seconds)} on about {report.images} of {counted(report.available, 'test image')}"
            + (f" ({left_out})" if left_out else "")
        )
    return f"{', '.join(parts)}: {at_most} {write_duration(total)} in all"
