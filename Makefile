# Every target sets up what it needs first. PYTHON=python3.12 chooses the interpreter, ARGS="--json" goes on to the command.

PYTHON ?= $(shell command -v python3.11 || echo python3)
ARGS ?=
VENV_PYTHON := .venv/bin/python
SETUP := PYTHON="$(PYTHON)" tools/setup

# The bare target name as the first word of the output would spoil --json.
MAKEFLAGS += --no-print-directory

.PHONY: demo test compose-test lint swarm bench clean help

help:
	@sed -n 's/^##//p' $(firstword $(MAKEFILE_LIST))

## make demo            one charger boots, charges, updates its firmware and survives a DNS failure
demo:
	@$(SETUP)
	@$(VENV_PYTHON) -m emulator demo $(ARGS)

## make test            the whole suite; as root the missing Debian packages are installed first
test:
	@$(SETUP) dev
	@tools/apt-install $$($(VENV_PYTHON) -m tests.requirements)
	@PYTHON=$(VENV_PYTHON) tools/azure-venv
	@$(VENV_PYTHON) -m pytest $(ARGS)

## make compose-test    docker-compose.yml is built, tested and taken down; as root an engine is started if there is none
compose-test:
	@tools/docker-engine tools/compose-test $(ARGS)

## make lint            ruff, mypy --strict, import contracts
lint:
	@$(SETUP) dev
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo

## make swarm           3000 random sites, links and faults, all healed in the end; a failing one says how to replay it
swarm:
	@$(SETUP) dev
	@$(VENV_PYTHON) -m tests.swarm $(ARGS)

## make bench           measures, and writes bench/out/report.json and bench/out/report.html
bench:
	@$(SETUP) dev,bench
	@tools/apt-install $$($(VENV_PYTHON) -m tests.requirements mosquitto openssl)
	@$(VENV_PYTHON) -m tests.bench $(ARGS)

## make clean           removes everything that these targets have made
clean:
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info \
		bench/out certs/out
	@find emulator cloud_stub certs tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
