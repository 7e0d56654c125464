# Users need `make demo` and `make test`; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
EXAMPLE = tests/fixtures/demo/quotas.db

# make fuzz SECONDS=600 JOBS=2 TARGETS="twoskip value"; without TARGETS every reader and parser.
SECONDS ?= 60
JOBS ?= 1

# No target depends on the settings of this machine.
export CYRUSQUOTA_SETTINGS =

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' cyrusquota/__init__.py)
SDIST = dist/cyrusquota-$(VERSION).tar.gz
WHEEL = dist/cyrusquota-$(VERSION)-py3-none-any.whl

.PHONY: demo demo-many test lint format man fuzz bench bench-rcpt bench-choosing bench-follow bench-many fault-matrix dists zipapp deb check-wheel clean

demo: $(VENV)/installed
	$(BIN)/cyrusquota list --db $(EXAMPLE)
	$(BIN)/cyrusquota-export --db $(EXAMPLE)
	@echo
	@echo 'Exim would defer mail for these two. On your server, "cyrusquota-export --dry-run" shows who'
	@echo 'would be listed, and writes nothing; "Install" in README.md says how to install it there.'

# A file of tests runs in one process, and up to eight of them at the same time.
test: $(VENV)/tested
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(TESTS)

# Needs root, Cyrus and 1 GB of memory for files; takes about fifty minutes.
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

# Several hosts, all on this machine, from nothing to the 451; needs root, Cyrus, Exim and Redis.
demo-many: $(VENV)/tested
	$(BIN)/python -m tools.demo_many

# Takes about five minutes and 2 GB of memory for files. For a try:
# make bench-many OPTIONS='--stores 2 --roots 20000 --entries 400 --rate 50 --seconds 10'
bench-many: $(VENV)/tested
	$(BIN)/python -m bench.many $(OPTIONS)

# Break real servers, and put what was seen into docs/many-hosts.md; takes about five minutes.
fault-matrix: $(VENV)/tested
	CYRUSQUOTA_NO_SKIP=1 CYRUSQUOTA_FAULT_MATRIX=docs/many-hosts.md $(BIN)/python -m pytest -q -s \
	    tests/integration/test_fault_matrix.py tests/integration/test_fault_security.py

# Man pages, completion scripts, the tables of docs/errors.md, and the routers in exim/.
man: $(VENV)/tested
	$(BIN)/python -m tools.docs

# The time an RCPT takes with maps of several sizes and formats; needs root and Exim.
bench-rcpt: $(VENV)/tested
	$(BIN)/python -m bench.rcpt

# The time an RCPT takes with a callout, smmapd, and a map; needs root, Exim and Cyrus.
bench-choosing: $(VENV)/tested
	$(BIN)/python -m bench.choosing

fuzz: $(VENV)/fuzzed
	$(BIN)/python -m fuzz --seconds $(SECONDS) --jobs $(JOBS) $(TARGETS)

# Needs root and Cyrus; takes some minutes. For example OPTIONS='--backend skiplist --seconds 600'.
bench-follow: $(VENV)/tested
	$(BIN)/python -m bench.follow $(OPTIONS)

# The targets below build packages into dist/. The same commit always gives the same bytes.
dists: $(VENV)/released
	$(BIN)/python -m release.dists dist

# A single file for hosts without pip, with attrs and click inside.
zipapp: dists
	$(BIN)/python -m release.zipapp $(WHEEL) $(VENV)/wheels/attrs-*.whl $(VENV)/wheels/click-*.whl dist/cyrusquota.pyz

# If debhelper is missing, root installs it.
deb: dists
	release/deb $(SDIST) dist

# Run the unit and property tests of the sdist against the installed wheel alone.
check-wheel: dists
	release/check-wheel $(WHEEL) $(SDIST)

# On Debian the module venv is in a package of its own.
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
