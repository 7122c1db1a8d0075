# `make demo` shows Greenroom at work, `make test` tries it; both start from nothing but Python 3.11+.

SHELL := /bin/bash
VENV ?= .venv

# The python3 there is, if it is new enough; else the newest python3.x that is.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

.PHONY: demo test test-long foreign-clients check bench build proto proto-classes settings clean

demo: $(RUNTIME)
	@$(BIN)/python examples/demo.py

# Two workers; ARGS="-n 0" runs everything in one process.
test: $(DEV) foreign-clients
	$(BIN)/python -m pytest --no-skips -m "not long" -n 2 --dist loadfile $(ARGS)

test-long: $(DEV) foreign-clients
	$(BIN)/python -m pytest --no-skips -m long --timeout=3600 $(ARGS)

# The official SDK in environments of its own, made before any test's time limit runs.
foreign-clients: $(DEV)
	@$(BIN)/python -m tests.interop.environments

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house

bench: $(DEV)
	$(BIN)/python -m bench $(ARGS)

build: $(DEV)
	$(BIN)/python -m build

# The classes of protocol/proto, checked in; a test holds them to their sources.
PB := transports/grpc/_pb
PROTOS = $(sort $(shell cd protocol/proto && find . -name '*.proto' -printf '%P '))

proto: $(DEV) proto-classes

proto-classes:
	rm -rf $(PB) && mkdir -p $(PB)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protocol/proto \
		--python_betterproto2_out=$(PB) --python_betterproto2_opt=client_generation=none \
		--include_imports --descriptor_set_out=$(PB)/descriptors.binpb $(PROTOS)

# docs/settings.md, from the source; a test holds it to that.
settings: $(DEV)
	$(BIN)/python -m greenroom.cli.settings

clean:
	rm -rf .venv .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Greenroom needs Python 3.11 or later: none was found." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# pip 25.1 is the first to know dependency groups.
$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . --group dev
	@touch $@ $(RUNTIME)
