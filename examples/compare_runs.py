"""Compare two runs image by image, and gate the second by the first."""

from tempfile import TemporaryDirectory

from robustbench_aigen import Run, Scenario

with TemporaryDirectory() as folder:
    scenario = Scenario(
        name="two", data={"source": "minigen", "limit": 16}, detectors=["minigen/lenet5"],
        pipelines={"jpeg": [{"perturb": "jpeg", "quality": 75}]},
    )  # fmt: skip
    before = scenario.run(folder)
    after = scenario.replace(threshold=0.6).run(folder)
    print(Run.load(before.folder).compare(Run.load(after.folder)).cells)
    baseline = before.save_baseline(f"{folder}/baseline")
    print("nothing got worse:", before.gate(baseline).passed)
