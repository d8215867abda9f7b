"""Entry point of ``python -m robustbench_aigen``, the same as ``robust-aigen``."""

from robustbench_aigen.cli.app import main

if __name__ == "__main__":
    main()
