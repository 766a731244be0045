# The front door. `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
FRAMEWORKS := uvloop gevent trio

.PHONY: help setup bench bench-quick bench-full claims study test browser microbench lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with everything in it (the other targets do it for you)

# uv is used where it is installed, because it is faster; venv and pip do the same.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 14) else f"the lab needs Python 3.11 to 3.14 and $(PYTHON) is {v[0]}.{v[1]}: make setup PYTHON=python3.12")'
	@echo "setting up .venv (once, about a minute)"
	@rm -rf .venv
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --python $(PYTHON) .venv && \
	  uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev,notebooks]' && \
	  for library in $(FRAMEWORKS); do \
	    uv pip install -q --python $(BIN)/python -c constraints.txt --only-binary :all: $$library || echo "no wheel of $$library for this Python: its server is skipped"; \
	  done; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,notebooks]' && \
	  for library in $(FRAMEWORKS); do \
	    $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --only-binary :all: $$library || echo "no wheel of $$library for this Python: its server is skipped"; \
	  done; \
	fi
	@touch $(READY)

bench: $(READY) ## the main job: measure servers of every family, charts in results/latest (about 12 min)
	@$(BIN)/python -m loadgen bench

bench-quick: $(READY) ## four questions of it, answered with wider intervals (about 2 min)
	@$(BIN)/python -m loadgen bench --quick

study: $(READY) ## the page of the committed run, with a guided tour through the servers
	@$(BIN)/python -m loadgen study

claims: $(READY) ## what tutorials say, put to the test; transports, HTTP and time-outs (about 7 min)
	@$(BIN)/python -m loadgen bench --experiments transports,http,reaping,claims

bench-full: $(READY) ## all servers and a fine grid (some hours)
	@$(BIN)/python -m loadgen bench --full

# Most of them wait for conditions with deadlines, or compute: several at once. Those that measure
# say so (pytest.mark.measures), and get the machine for themselves.
test: $(READY) ## all tests (about 20 min)
	@status=0; \
	$(BIN)/python -m pytest -n 4 --dist worksteal -m 'not measures' || status=$$?; \
	$(BIN)/python -m pytest -m measures || status=$$?; \
	exit $$status

browser: ## Chromium, in which the tests look at the page (apt-get, as root)
	@command -v chromium >/dev/null || \
	  { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; }

microbench: $(READY) ## pytest-benchmark: the protocol alone, and one round trip per server
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

lint: $(READY) ## ruff, mypy, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

clean: ## remove .venv and caches; runs under results/ stay
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache .benchmarks build *.egg-info
	find servers loadgen tests -name __pycache__ -type d -prune -exec rm -rf {} +
