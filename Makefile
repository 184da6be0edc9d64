# make play   install everything and hear the first ten seconds
# make test   run the tests; those whose host or tool is not installed are skipped, with the reason
# make lint   formatting, style and types
# make docs   write the protocol's reference and the hosts' tables from the schema
# make doctor check what playing needs

VENV ?= .venv
BIN := $(VENV)/bin
CODE := protocols audio_files daw_bridge engine $(wildcard benchmarks host_tables)

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
endif

.PHONY: play test lint docs doctor

play: $(VENV)/.installed
	@$(BIN)/python scripts/install_system_libraries.py
	$(BIN)/daw-bridge play "slow jazz piano trio in A minor, 92 bpm" --duration 10

test: $(VENV)/.installed-dev
	$(BIN)/python scripts/run_tests.py $(PYTEST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m protocols.reference
	$(BIN)/python -m host_tables

doctor: $(VENV)/.installed
	$(BIN)/daw-bridge doctor --selftest

# The stamps make a second run instant; a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-input --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --no-input --disable-pip-version-check -e '.[dev]'
	@touch $@
