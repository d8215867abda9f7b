"""Measure the defences: ``python -m benchmarks.defences``."""

import argparse
from pathlib import Path

import pandas as pd

import benchmarks.defences
from benchmarks.defences.defence import defence, names
from benchmarks.defences.measurement import measure
from benchmarks.table_file import put_rows


def main() -> None:
    """Parse the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defences",
        description=benchmarks.defences.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="defences; all without")
    parser.add_argument("--limit", type=int, default=100, help="images of the test split of minigen")
    parser.add_argument("--without-auto", action="store_true", help="measure PGD and the reference alone")
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same defence are replaced")
    arguments = parser.parse_args()
    rows = []
    for each in [defence(name) for name in arguments.names or names()]:
        row = measure(each, arguments.limit, auto=not arguments.without_auto)
        rows.append(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if arguments.output:
            put_rows(arguments.output, pd.DataFrame([row]), ["defence"])
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
