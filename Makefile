# `make demo` and `make test` set themselves up; nothing else is needed but Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python

.PHONY: venv demo test slow check format lint types imports clean

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: venv
	$(RUN) -m experiments.text_gan seqgan --preset demo --runtime.threads 2

test: venv
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto

slow: venv
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m slow

check: format lint types imports test

format: venv
	$(BIN)/ruff format --check .

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

imports: venv
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
