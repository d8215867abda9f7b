"""``robust-aigen submit``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.plugin_option import Plugins

CARDS = "results/leaderboard"
"""Folder of cards by default."""


def submit(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder of 'benchmark', or the results folder of a suite for its newest run."
        ),
    ],
    output: Annotated[str, typer.Option(help="The folder of cards.")] = CARDS,
    data: Annotated[str | None, typer.Option(help="Name of the training data.")] = None,
    generator: Annotated[
        list[str] | None, typer.Option(help="A generator of the training fakes. Repeatable.")
    ] = None,
    hyperparameters: Annotated[
        str | None,
        typer.Option(help="Hyper-parameters of the training, in braces: '{epochs: 10, optimizer: adamw}'."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    link: Annotated[
        str | None, typer.Option(help="Address of further evidence: a paper, a log, the run folder.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Load detectors whose files can execute code, as in run.")
    ] = False,
    _plugin: Plugins = None,
) -> None:
    """Make the card of a benchmark run for the leaderboard; refuse an incomplete run.

    Training data, generators, hyper-parameters and licence are read from the card beside the weights, if it has them.
    """
    from robustbench_aigen.leaderboard.submission import Disclosed, read_hyperparameters
    from robustbench_aigen.leaderboard.submission import submit as make_card
    from robustbench_aigen.runs.run import Run

    read = None if hyperparameters is None else read_hyperparameters(hyperparameters)
    disclosed = Disclosed(data, tuple(generator or ()), read, licence, link)
    say(f"written: {make_card(Run.load(run), output, disclosed, trust_code=trust_code)}")
