# The two commands of the README are `make demo` and `make test`; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
EXAMPLE = tests/fixtures/main/twoskip/quotas.db

# make fuzz SECONDS=600 JOBS=2 TARGETS="twoskip value"; without TARGETS every reader and parser.
SECONDS ?= 60
JOBS ?= 1

.PHONY: demo test lint format man fuzz bench-rcpt bench-follow clean

demo: $(VENV)/installed
	$(BIN)/cyrusquota-export --db $(EXAMPLE) -v

test: $(VENV)/tested
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(TESTS)

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/tested
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Man pages, completion scripts and docs/errors.md, from the code.
man: $(VENV)/tested
	$(BIN)/python -m papers

# What an RCPT costs with a map of each size and format; needs root and Exim.
bench-rcpt: $(VENV)/tested
	$(BIN)/python -m bench.rcpt

fuzz: $(VENV)/fuzzed
	$(BIN)/python -m fuzz --seconds $(SECONDS) --jobs $(JOBS) $(TARGETS)

# As root, with Cyrus installed; some minutes. OPTIONS='--backend skiplist --seconds 600', say.
bench-follow: $(VENV)/tested
	$(BIN)/python bench/follow.py $(OPTIONS)

# Debian keeps the module in a package of its own.
$(VENV)/bin/pip:
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get install -y python3-venv; } \
	  || { echo "first: sudo apt-get install python3-venv" >&2; exit 69; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml $(shell find cyrusquota -name '*.py')
	$(BIN)/pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/tested: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/fuzzed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	touch $@

clean:
	rm -rf $(VENV) fuzz/corpus fuzz/findings build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
