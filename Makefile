# make help lists the targets. Everything is installed into .venv and nowhere else, but for the
# command-line tools (DCMTK, GDCM and others) that the tests use as real peers and decoders.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help commands conformance metrics screenshots setup run test everything faults long cluster browser quick coverage check demo viewer bench fuzz soak audit clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: $(STAMP) ## create .venv and install zscp with its tools into it

# The stamp is written last, so that a setup that broke off runs again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# What more some tests need, once for each environment.
.venv/.installed-%: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

run: setup ## serve with the defaults, data in ./zscp-data, and a page on port 11180, whose address it prints
	ZSCP_HTTP__PORT=$${ZSCP_HTTP__PORT:-11180} $(BIN)/zscp serve

# Hundreds of processes of the tests import the same modules, which takes half as long once they are compiled.
unexport PYTHONDONTWRITEBYTECODE

# Arguments for pytest: make test TESTS="-k landing".
TESTS ?=
test: setup ## run all tests; installs DCMTK, Chromium and other tools where they are missing
	scripts/install-tools.sh
	@if $(MAKE) --no-print-directory browsing; then with=--browser; else echo "The tests in a browser are left out."; fi; \
	set -x; $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $$with $(TESTS)

faults: setup ## let each call fail in turn, and disks fill or fail below a node; half an hour, needs root and strace
	scripts/install-tools.sh
	$(BIN)/python -m pytest -n 2 -m faults tests/faults

# Of the tests on real servers and in a browser, too.
# Here a test may take an hour, not the five minutes after which another is ended.
long: servers ## run what repeats for minutes, with more cases, kills or bytes, what shorter tests show
	$(MAKE) test TESTS="--cluster -m long -o faulthandler_timeout=3600 $(TESTS)"

# Arguments for pytest: make cluster CLUSTER="-k spool".
CLUSTER ?=
cluster: servers ## run the tests on real servers, PostgreSQL, SeaweedFS and Azurite, which it installs where they are missing
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m cluster $(CLUSTER)

browser: browsing ## of all tests, run those in a real browser, Chromium: of the page, and of a viewer and a client that npm fetches
	$(BIN)/python -m scripts.npm || echo "The tests of the viewer are left out."
	$(BIN)/python -m pytest -m browser tests/wire/test_browser.py tests/wire/test_viewer.py \
	    tests/wire/test_viewer_studies.py tests/wire/test_javascript_client.py

# What waits for a server to come back, 20 s each time, does so beside what needs the processor.
everything: servers ## run all tests, those on real servers beside the others; CI does
	$(MAKE) test TESTS="--cluster $(TESTS)"

.PHONY: servers browsing programs
servers: .venv/.installed-cluster
	scripts/install-tools.sh
	scripts/install-cluster.sh

browsing: .venv/.installed-browser
	scripts/install-browser.sh

# One after the other: apt-get has one lock.
programs: setup
	-scripts/install-tools.sh
	-scripts/install-cluster.sh
	-scripts/install-browser.sh

coverage: setup ## run the tests, or those that TESTS names, and show which lines of zscp no test runs
	scripts/install-tools.sh
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

quick: setup ## run the tests that take less than a minute, and need no tool installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m quick

check: lint types imports ## lint, formatting, types, and which module may import which

.PHONY: lint types imports
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

# Else each of the processes that share the tests compiles all of them, where nobody has yet.
.PHONY: compiled
compiled: setup
	$(BIN)/python -m pytest --collect-only > /dev/null

conformance: setup ## write the tables of docs/conformance.md from those of the code
	$(BIN)/python -m scripts.conformance

metrics: setup ## write the tables of docs/metrics.md from the code and the alerts
	$(BIN)/python -m scripts.metrics

commands: setup ## write the reference of docs/commands.md from the command line
	$(BIN)/python -m scripts.commands

# Of the objects in a folder: make screenshots SCREENSHOTS=/data/objects. Without one, of public objects.
SCREENSHOTS ?=
screenshots: browsing ## take pictures of all views of the page, and of the viewer, for docs/
	$(BIN)/python -m scripts.screenshots $(SCREENSHOTS)
	$(BIN)/python -m scripts.viewer_picture $(SCREENSHOTS)

demo: setup ## start a node, store, query and retrieve, and show what it saved
	$(BIN)/python scripts/demo.py

# Of the objects in a folder: make viewer VIEWER=/data/objects. Without one, of public objects.
VIEWER ?=
viewer: setup ## show objects in OHIF, which npm fetches, by the DICOMweb of a node; until Ctrl-C
	$(BIN)/python -m scripts.viewer $(VIEWER)

# Arguments for a part of it: make bench BENCH="--only 'store-ct-*' --rounds 3"; docs/benchmarks.md then stays as it is.
BENCH ?= --page
bench: setup ## measure zscp beside DCMTK and Orthanc, which it installs where they are missing; takes long
	scripts/install-peers.sh
	$(BIN)/python -m bench.run $(BENCH)

# Targets by name, and seconds in all: make fuzz FUZZ="stored dataset" FUZZ_SECONDS=60. docs/fuzzing.md says more.
FUZZ ?=
export FUZZ_SECONDS
fuzz: setup ## feed mutated objects to all that reads them, for 10 minutes; Linux x86-64 only
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m fuzz.run $(FUZZ)

# Of 16 peers, for so many seconds; it stops by itself, and exits with 1 if a claim does not hold.
# Other arguments: make soak SOAK="--gigabytes 8 --disk /mnt/data".
SOAK ?=
SOAK_SECONDS ?= 1800
soak: setup ## let good and bad peers loose on a node for 30 minutes; writes bench/results/soak.md
	$(BIN)/python -m bench.mixed.run --page --seconds $(SOAK_SECONDS) $(SOAK)

# In an environment of its own: what it needs is none of zscp's. --strict: what cannot be looked up is a fault.
AUDIT ?= pip-audit==2.10.1
audit: setup ## look up the pinned packages among known vulnerabilities (pypi.org); needs the internet
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check $(AUDIT)
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

clean: ## remove .venv and caches; never the data in ./zscp-data
	rm -rf .venv build *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf fuzz/.corpus fuzz/.raw
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
