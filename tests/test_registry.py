"""Registries: built-in folders, entry points and plugin files."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from robustbench_aigen import registry
from robustbench_aigen.errors import UserError
from robustbench_aigen.registry import Registry, load_plugin


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A registry whose built-in folder has two modules; plugins reach it as ``palette.COLOURS``."""
    folder = tmp_path / "palette"
    (folder / "built_in").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from robustbench_aigen.registry import Registry\nCOLOURS = Registry('colour', 'palette.built_in')\n"
    )
    (folder / "built_in" / "__init__.py").write_text("")
    for module, names in {"cold": ("green", "blue"), "warm": ("red",)}.items():
        lines = "".join(f"@COLOURS.register('{name}')\ndef {name}(): return '{name}'\n" for name in names)
        (folder / "built_in" / f"{module}.py").write_text("from palette import COLOURS\n" + lines)
    for name in [name for name in sys.modules if name.split(".")[0] == "palette"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    import palette

    yield palette.COLOURS
    for name in [name for name in sys.modules if name.split(".")[0] == "palette"]:
        del sys.modules[name]


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text("from palette import COLOURS\n" + text)
    return file


PINK = "@COLOURS.register('pink')\ndef pink(): return 'pink'\n"


def test_built_in_modules_load_when_read_and_keep_their_order(colours):
    assert "palette.built_in.cold" not in sys.modules
    assert colours.names() == ("green", "blue", "red")
    assert [item() for item in colours] == ["green", "blue", "red"]
    assert colours.names("*e*d") == ("red",)


def test_order_does_not_depend_on_what_was_imported_first(colours):
    import palette.built_in.warm  # noqa: F401

    assert colours.names() == ("green", "blue", "red")


def test_an_unknown_name_gets_the_nearest(colours):
    with pytest.raises(UserError, match="unknown colour 'gren'\n  did you mean 'green'?"):
        colours["gren"]


def test_a_plugin_file_is_imported_once_and_comes_last(colours, tmp_path):
    file = plugin(tmp_path, PINK)
    assert load_plugin(file) is load_plugin(str(file))
    assert colours.names() == ("green", "blue", "red", "pink")
    assert colours.place("pink") == f"{file}:2"
    assert not list(tmp_path.glob("__pycache__"))


def test_a_taken_name_names_both_places(colours, tmp_path):
    file = plugin(tmp_path, PINK + "@COLOURS.register('blue')\ndef sky(): return 'sky'\n")
    with pytest.raises(UserError) as caught:
        load_plugin(file)
    assert f"{tmp_path}/palette/built_in/cold.py:4" in str(caught.value)
    assert f"{file}:4" in str(caught.value)
    assert colours.names() == ("green", "blue", "red")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\n1 / 0\n", 3, "ZeroDivisionError"),
        ("def broken(:\n", 2, "not valid Python"),
        ("import no_such_module_here\n", 2, "no_such_module_here"),
        ("raise SystemExit(3)\n", 2, "SystemExit"),
    ],
)
def test_a_failing_file_is_one_error_with_its_line_and_can_be_mended(colours, tmp_path, text, line, said):
    file = plugin(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        load_plugin(file)
    assert (caught.value.file, caught.value.line) == (file, line)
    plugin(tmp_path, PINK)
    load_plugin(file)
    assert "pink" in colours


@pytest.mark.parametrize("name", ["missing.py", "notes.txt", "."])
def test_what_is_no_python_file_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError):
        load_plugin(tmp_path / name)


def test_entry_points_come_between_built_in_and_files(colours, tmp_path, monkeypatch):
    plugin(tmp_path, PINK.replace("pink", "grey"), "installed.py")
    point = EntryPoint("installed", "installed", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    monkeypatch.setattr(registry, "_ENTRY_POINTS_LOADED", set())
    load_plugin(plugin(tmp_path, PINK))
    assert colours.names() == ("green", "blue", "red", "grey", "pink")
    sys.modules.pop("installed")


def test_importing_the_plugins_loads_nothing_heavy():
    code = "import sys, robustbench_aigen.plugins; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
