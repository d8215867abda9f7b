"""Every example of docs/DATA.md works."""

import re
import shlex

import yaml
from conftest import REPOSITORY, write_image

from robustbench_aigen.data.layout import LAYOUTS
from robustbench_aigen.scenario.data_spec import NAMED_LAYOUTS, ROLES, SourceSpec

DOCUMENT = (REPOSITORY / "docs" / "DATA.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path, image_folder, monkeypatch, cli):
    image_folder.rename(tmp_path / "my_images")
    (tmp_path / "listed.csv").write_text(
        "path,label\nmy_images/real/00.png,real\nmy_images/fake/00.png,fake\n"
    )
    for number in range(4):
        write_image(tmp_path / "my_fakes" / f"{number}.png", 200 + number, fake=True)
        write_image(tmp_path / "numbered" / f"{number % 2}" / f"{number}.png", 300 + number, fake=True)
    for kind, text in BLOCKS:
        if kind == "yaml":
            (tmp_path / f"{yaml.safe_load(text)['name']}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    commands = [line[2:] for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
    assert len(commands) == 7
    for command in commands:
        outcome = cli(*shlex.split(command)[1:])
        assert outcome.code == 0, (command, outcome.err)
    several = cli("validate", "several.yaml").out
    assert "24 images" not in several
    assert "on 32 images" in several
    assert "sdxl 0+4" in several


def test_every_key_and_layout_of_a_source_is_in_the_document():
    for name in [*SourceSpec.model_fields, *LAYOUTS.names(), *NAMED_LAYOUTS, *ROLES]:
        assert f"`{name}`" in DOCUMENT or name == "source", name
