# One verb a line; `make help` lists them. Needs Python 3.11 to 3.14 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
N ?= 1000

.DEFAULT_GOAL := help
.PHONY: help setup sync test test-clock laws lint types layers dev console bench bench-profile bench-path bench-counted deploy-check scale docs docs-pictures clean

help:  ## List these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(READY)  ## Create the environment (done by every other verb)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else f"Python 3.11 to 3.14 is needed, this is {v[0]}.{v[1]}: run make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[postgres]' --group dev
	@touch $@

sync: $(READY)  ## Run the main job and verify both sides (on the sandbox when no credentials are set)
	@$(BIN)/sync-pipeline sync --verify

test: lint  ## Lint, types, layers and all tests
	# The tests start this program hundreds of times: compiled once, whatever the environment says of other programs.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

test-clock: $(READY)  ## Run what depends on days at eight instants (not part of `test`; LIBFAKETIME=1: from outside)
	@$(BIN)/python -m sync_pipeline_tests.clock_table $(if $(LIBFAKETIME),--libfaketime)

laws: $(READY)  ## The laws at random: N=1000 histories, or the one of SEED=...; LAW=overlaps|live|highlevel|overlaps_highlevel|stories_highlevel|third|reports DATABASE=...
	@$(BIN)/python -m sync_pipeline_tests.laws $(if $(SEED),--seed $(SEED),--count $(N)) $(if $(LAW),--law $(LAW)) $(if $(DATABASE),--database $(DATABASE))

lint: $(READY)  ## Style (docstrings included), types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(READY)  ## Sandbox, console, webhooks, Dagster daemon and UI, until Ctrl-C
	@$(BIN)/sync-pipeline dev || test $$? -eq 130  # Ctrl-C is no error of this target

console: $(READY)  ## A fresh link that signs in to the console that is running
	@$(BIN)/sync-pipeline console link

bench: $(READY)  ## Measure speed, memory, requests and the time changes take (PARTS=rounds,dashboard ROUNDS=1 SIZES=1000,3000)
	@$(BIN)/python -m sync_pipeline_tests.bench $(if $(PARTS),--parts $(PARTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SIZES),--sizes $(SIZES)) $(if $(CLOCK),--clock $(CLOCK))

bench-profile: $(READY)  ## Say where the time of a sync goes, stage by stage (SIZE=100000)
	@$(BIN)/python -m sync_pipeline_tests.bench.profile $(if $(SIZE),--entries $(SIZE))

bench-path: $(READY)  ## Trace one changed entry through a sync, file by file
	@$(BIN)/python -m sync_pipeline_tests.bench.path

bench-counted: $(READY)  ## Count the work of a sync for 1,000 rows (LOWER=1: lower the table; FEATURE=name: add its cost)
	@$(BIN)/python -m sync_pipeline_tests.bench.counted $(if $(LOWER),--lower) $(if $(FEATURE),--feature '$(FEATURE)')

deploy-check: $(READY)  ## Check deploy/ with the programs that read it; says which it skipped
	@$(BIN)/python -m sync_pipeline_tests.deploy_check

scale: $(READY)  ## A fleet on seven machines, measured and disturbed; needs root (SMALL=1: 50,000 entries; ENTRIES=... WORKERS=1,3)
	@$(BIN)/python -m sync_pipeline_tests.scale $(if $(SMALL),--small) $(if $(ENTRIES),--entries $(ENTRIES)) $(if $(WORKERS),--workers $(WORKERS))

docs: $(READY)  ## Write .env.example and the generated parts of the docs
	$(BIN)/python -m sync_pipeline_tests.generate

docs-pictures: $(READY)  ## Make the pictures of the docs anew, with Chromium
	$(BIN)/python -m sync_pipeline_tests.console.screenshots
	$(BIN)/python -m sync_pipeline_tests.console.lineage

clean:  ## Remove the environment and all local state
	rm -rf $(VENV) .sync
