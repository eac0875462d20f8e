"""Every example in a docstring of models/ runs and every module is found, not listed."""

import doctest
import importlib
import pkgutil

import pytest

import models

MODULES = sorted(module.name for module in pkgutil.walk_packages(models.__path__, "models."))
WITH_EXAMPLES = {name for name in MODULES if not hasattr(importlib.import_module(name), "__path__")}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name not in WITH_EXAMPLES


def test_discovery_finds_the_families():
    assert {"models.forecast.btyd", "models.segments.kmeans", "models.recommend.neighbors"} <= set(
        MODULES
    )
