# One verb a line; `make help` lists them. Needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup sync test lint types layers dev bench docs clean

help:  ## List these verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(READY)  ## Create the environment (done by every other verb)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: run make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[postgres]' --group dev
	@touch $@

sync: $(READY)  ## Run the main job and verify both sides (on the sandbox when no credentials are set)
	@$(BIN)/sync-pipeline sync --verify

test: lint  ## Lint, types, layers and all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY)  ## Style (docstrings included), types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(READY)  ## Sandbox, console, webhooks, Dagster daemon and UI, until Ctrl-C
	@$(BIN)/sync-pipeline dev

bench: $(READY)  ## Measure speed, requests, memory and the time changes take on a sandbox
	@$(BIN)/python -m sync_pipeline_tests.bench

docs: $(READY)  ## Write .env.example and the generated parts of the docs
	$(BIN)/python -m sync_pipeline_tests.generate

clean:  ## Remove the environment and all local state
	rm -rf $(VENV) .sync
