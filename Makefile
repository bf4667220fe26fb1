# Every target sets up what it needs, says what it does, and is quick the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= python3
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
TORCH := $(VENV)/.torch
TRITON := $(VENV)/.triton
TORCH_VERSION := 2.13.0

# Compiled code is kept: without it every process compiles a thousand modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-torch setup-triton lock demo up test test-fast check fix smoke bench \
	screenshots docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv from the lock file

$(VENV)/bin/uv:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Modelyard needs Python 3.11 or newer; say which: make PYTHON=python3.11 setup"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv

$(READY): requirements.lock pyproject.toml | $(VENV)/bin/uv
	@echo "Installing $$(grep -c '^[a-z0-9]' requirements.lock) packages from requirements.lock, and compiling them"
	@$(UV) pip install --quiet --compile-bytecode --require-hashes --requirements requirements.lock
	@$(UV) pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

setup-torch: $(TORCH) ## Add PyTorch, for models in its formats (large)

$(TORCH): $(READY)
	@echo "Installing torch $(TORCH_VERSION) (about 200 MB)"
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip --upgrade >/dev/null
	@$(RUN) -m pip install --quiet --disable-pip-version-check torch==$(TORCH_VERSION) onnxscript
	@touch $@

setup-triton: $(TRITON) ## Add the Triton model server (370 MB)

$(TRITON): $(READY)
	@echo "Preparing the Triton model server"
	@$(RUN) -m workers.runtimes.prepare triton
	@touch $@

lock: | $(VENV)/bin/uv ## Resolve pyproject.toml anew into requirements.lock
	@echo "Resolving pyproject.toml into requirements.lock"
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --group dev \
		--generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --output-file requirements.lock

demo: $(READY) ## Start everything, with three real models in it, until Ctrl-C
	@$(RUN) manage.py up --demo

up: $(READY) ## Start everything, empty or as it was, until Ctrl-C
	@$(RUN) manage.py up

# Most of the time the tests wait for real servers: three at a time keep two cores busy. In the
# order of their folders, not of their numbers: slow files are small, and come last otherwise.
test: $(READY) ## Run all tests, with every part real, then the journeys on the whole stack
	@$(RUN) -m pytest --ignore tests/journeys --numprocesses 3 --dist loadfile \
		--no-loadscope-reorder --durations=15
	@$(RUN) -m pytest tests/journeys --durations=15

test-fast: $(READY) ## Run the tests that need no database
	@$(RUN) -m pytest tests/unit tests/architecture --numprocesses 2

check: $(READY) ## Lint, types, import contracts, settings, migrations
	@echo "ruff: style";      $(VENV)/bin/ruff check --quiet .
	@echo "ruff: format";     $(VENV)/bin/ruff format --quiet --check .
	@echo "mypy: types";      $(VENV)/bin/mypy
	@echo "import contracts"; $(VENV)/bin/lint-imports --no-cache | tail -n 3
	@echo "django: settings"; $(RUN) manage.py check
	@echo "django: migrations"; $(RUN) -W ignore manage.py makemigrations --check --dry-run

fix: $(READY) ## Mend style and format
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

smoke: $(READY) ## Register, build, serve and check 1,000 predictions in a temporary home
	@$(RUN) -m controlplane.cli.smoke

bench: $(READY) ## Measure ourselves against the peers; writes bench/results/
	@$(RUN) -m bench

screenshots: $(READY) ## Photograph every page into docs/screenshots/
	@$(RUN) -m bench.screenshots

docs: $(READY) ## Print the state machines, the gates and the OpenAPI document into docs/
	@$(RUN) manage.py diagrams
	@$(RUN) manage.py openapi
	@$(RUN) -m apps.gates.domain.catalogue_page > docs/gates.md

clean: ## Remove the embedded stack's state (.modelyard); .venv stays
	@if [ -S .modelyard/run/supervisor.sock ]; then echo "Stop the stack first (Ctrl-C)."; exit 1; fi
	@rm -rf .modelyard
