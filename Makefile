# The two commands of the README are `make demo` and `make test`; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
EXAMPLE = tests/fixtures/demo/quotas.db

# make fuzz SECONDS=600 JOBS=2 TARGETS="twoskip value"; without TARGETS every reader and parser.
SECONDS ?= 60
JOBS ?= 1

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' cyrusquota/__init__.py)
SDIST = dist/cyrusquota-$(VERSION).tar.gz
WHEEL = dist/cyrusquota-$(VERSION)-py3-none-any.whl

.PHONY: demo test lint format man fuzz bench bench-rcpt bench-follow dists zipapp deb check-wheel clean

demo: $(VENV)/installed
	$(BIN)/cyrusquota list --db $(EXAMPLE)
	$(BIN)/cyrusquota-export --db $(EXAMPLE)
	@echo
	@echo 'Exim would defer mail for these two. On your server, "cyrusquota-export --dry-run" says whom'
	@echo 'it would list and writes nothing; "Install" in README.md tells how to get it there.'

test: $(VENV)/tested
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(TESTS)

# As root, with Cyrus installed and room for 1 GB of files in memory; takes about ten minutes.
# Smaller: make bench BENCH="--roots 100000 --files 20000 --runs 3"
bench: $(VENV)/tested
	$(BIN)/python -m bench $(BENCH)

lint: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/tested
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Man pages, completion scripts and the tables of docs/errors.md, from the code.
man: $(VENV)/tested
	$(BIN)/python -m tools.docs

# What an RCPT costs with a map of each size and format; needs root and Exim.
bench-rcpt: $(VENV)/tested
	$(BIN)/python -m bench.rcpt

fuzz: $(VENV)/fuzzed
	$(BIN)/python -m fuzz --seconds $(SECONDS) --jobs $(JOBS) $(TARGETS)

# As root, with Cyrus installed; some minutes. OPTIONS='--backend skiplist --seconds 600', say.
bench-follow: $(VENV)/tested
	$(BIN)/python bench/follow.py $(OPTIONS)

# What follows builds what is installed, into dist/, the same bytes wherever and whenever.
dists: $(VENV)/released
	$(BIN)/python -m release.dists dist

# One file for hosts without pip, with attrs and click inside.
zipapp: dists
	$(BIN)/python -m release.zipapp $(WHEEL) $(VENV)/wheels/attrs-*.whl $(VENV)/wheels/click-*.whl dist/cyrusquota.pyz

# Where debhelper is missing, root gets it from Debian.
deb: dists
	release/deb $(SDIST) dist

# The unit and property tests, as the sdist has them, against the installed wheel alone.
check-wheel: dists
	release/check-wheel $(WHEEL) $(SDIST)

# Debian keeps the module in a package of its own.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && { apt-get update; apt-get install -y python3-venv; }; } \
	  || { echo "first, as root: apt-get install python3-venv" >&2; exit 69; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml $(shell find cyrusquota -name '*.py')
	$(BIN)/pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/tested: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/released: $(VENV)/bin/pip release/requirements.txt
	rm -rf $(VENV)/wheels
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --dest $(VENV)/wheels -r release/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-index $(VENV)/wheels/setuptools-*.whl
	touch $@

$(VENV)/fuzzed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	touch $@

clean:
	rm -rf $(VENV) fuzz/corpus fuzz/findings build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
