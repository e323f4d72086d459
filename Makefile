# `make demo` and `make test` do everything, set-up included; `make help` lists the rest.
# By hand one needs only Python 3.11 or 3.12 (or uv). A second run finds its stamp and starts at once.
SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.installed
# three at a time on two cores, because tests wait a lot; the longest files first; `make test PYTEST_ARGS=tests/unit` for a part
PYTEST_ARGS ?= -n 3 --dist loadfile

export PYTHON
.DEFAULT_GOAL := help
.PHONY: help setup warm demo quick histories chaos fuzz test services check lint format types imports dead audit layouts drawing lock up down clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: warm ## Make .venv from requirements.lock, compile the kernels

$(STAMP): requirements.lock pyproject.toml client/pyproject.toml tools/environment.sh
	@./tools/environment.sh
	@touch $@

warm: $(STAMP) # it looks itself whether these sources were compiled
	@$(BIN)/python -m nurt.app.warm

demo: warm ## Two shops, an ERP and genuine change events become live profiles, on this machine alone
	@$(BIN)/nurt demo

quick: warm ## Tests without any service, in about a minute: what to run before each commit
	@NURT_HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n 2 --dist loadfile \
		-m "not services and not chaos and not slow"

histories: warm ## A thousand random histories with all mishaps, in process: minutes
	@NURT_HISTORIES=1000 NURT_HYPOTHESIS_PROFILE=thousand $(BIN)/python -m pytest -n 2 \
		tests/properties/test_wire_equals_batch.py tests/properties/test_engine_equals_batch.py \
		tests/properties/test_stock_equals_batch.py

chaos: warm services ## Thirty random histories through real processes that are killed: a quarter of an hour
	@NURT_CHAOS_HISTORIES=30 $(BIN)/python -m pytest -n 2 tests/chaos/test_random_histories.py

FUZZ ?= 1
fuzz: warm ## Damaged bytes by the million, in child processes: an hour; `make fuzz FUZZ=0.1` tries a tenth
	@NURT_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 0 -q tests/fuzz

services: $(STAMP)
	@./tools/services.sh

test: warm services ## All tests; services that are not there are skipped at a desk and fail in CI
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types imports dead ## What CI checks besides the tests

lint: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(STAMP) ## Format and mend what ruff can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP) # the link nurt/flows is followed by a copy: the linter does not follow links
	@rm -rf build/imports && mkdir -p build && cp -RL src build/imports && PYTHONPATH=build/imports $(BIN)/lint-imports --no-cache

drawing: $(STAMP) ## Draw docs/flow.svg again, out of the flows
	@$(BIN)/python tools/draw_flow.py

dead: $(STAMP) # code that nothing calls; packages that are imported and not declared, or the other way round
	@$(BIN)/vulture
	@$(BIN)/deptry src client/src tools

audit: $(STAMP) ## Ask which of the locked packages have known vulnerabilities; write build/sbom.cdx.json (needs a network)
	@$(BIN)/python tools/audit.py

layouts: $(STAMP) ## Add new columns of stored tables to schemas/state-v1.json
	@$(BIN)/python tools/layouts.py

lock: ## Choose versions anew, by uv; commit both files
	uv pip compile pyproject.toml --group dev --extra otlp --universal --generate-hashes --no-emit-index-url \
		--no-emit-package nurt-client --upgrade --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra otlp -c requirements.lock --universal --generate-hashes --no-emit-index-url \
		--no-emit-package nurt-client --no-annotate --quiet -o docker/requirements.lock

up: ## The full stack in containers: Kafka, registry, Debezium, two databases, Redis, nurt
	docker compose up --build --detach

down: ## Stop it and forget what it stored
	docker compose down --volumes

clean: ## Remove .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
