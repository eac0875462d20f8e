# Every target does its own set-up: on a fresh clone with Python >= 3.11 nothing else is needed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
PYTEST_ARGS ?= -n 2 --dist loadgroup
export PIP_DISABLE_PIP_VERSION_CHECK := 1

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help setup test check e2e-crm lint format bench demo demo-quick lock clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Create .venv with exactly the locked packages.

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -c 'from models.recommend.preparing import prepare; prepare()'
	touch $@

test: $(STAMP)  ## Run all tests; PYTEST_ARGS="-k name" narrows them.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint test  ## What must pass before a commit lands: lint, then all tests.

e2e-crm: $(STAMP)  ## 1,000 customers into a real CRM and back; skipped where Python 3.12 lacks.
	$(BIN)/python -m tests.e2e.bottlecrm

lint: $(STAMP)  ## Check format, style, types and the layers.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## Format the code and fix what can be fixed.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(STAMP)  ## Measure throughput, freshness, delivery and models on this machine.
	$(BIN)/python -m benchmarks

demo: $(STAMP)  ## Watch a shop's customers flow through, on an embedded server.
	$(BIN)/crm-reflex demo

demo-quick: $(STAMP)  ## The same in less than a minute.
	$(BIN)/crm-reflex demo --quick

lock: $(STAMP)  ## Resolve the dependencies anew, keeping what still fits; UPGRADE=1 takes the newest.
	$(LOCK) $(if $(UPGRADE),--upgrade) --extra demo --extra plots --extra yaml --group dev -o requirements.lock
	$(LOCK) --group build -c requirements.lock -o requirements-service.lock

clean:  ## Remove caches and build products; data and .venv stay.
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
