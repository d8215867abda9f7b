"""The stubs of attacks and perturbations for editors and mypy, and what help() says."""

import pydoc

from robustbench_aigen import attacks, perturbations
from robustbench_aigen.catalogue import shipped_files


def test_every_recipe_lies_in_the_folder_of_its_kind_and_has_a_name_of_its_own():
    for module, folder in ((attacks, "attacks"), (perturbations, "perturbations")):
        assert sorted([*shipped_files(folder), "create"]) == sorted(dir(module))
    assert not shipped_files("attacks").keys() & shipped_files("perturbations").keys()


def test_help_shows_parameters_defaults_and_source():
    said = pydoc.render_doc(attacks.pgd, renderer=pydoc.plaintext)
    assert "pgd = <attack pgd>" in said
    assert (
        "length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2" in said
    )
    assert "whole number of at least 1; by default 10" in said
    assert "Source: Madry et al. 2018" in said
    said = pydoc.render_doc(perturbations.jpeg, renderer=pydoc.plaintext)
    assert "whole number from 1 to 5, which sets quality; by default not given" in said
