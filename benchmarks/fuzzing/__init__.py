"""Fuzzing of the readers of strangers' files: ``python -m benchmarks.fuzzing [LOADER …] --minutes 10``.

The contract, for any bytes: a loader returns, or raises its documented error with a one-line message. It never runs
code, hangs, takes memory without limit, or writes or reads outside its folder. Violations are saved in ``fuzz-findings/``.

Every input goes to a worker process, which a supervisor ends at a limit of time or memory. Three engines make inputs:
``structured`` (hypothesis), ``coverage`` (atheris, guided by the branches that an input reaches) and ``bytes``
(mutations of valid files, guided by the errors that an input causes), which replaces atheris where it has no wheel.
"""
