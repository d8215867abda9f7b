"""``python -m robustbench_aigen`` is ``robust-aigen``."""

from robustbench_aigen.cli.app import main

if __name__ == "__main__":
    main()
