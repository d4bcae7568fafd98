# make report [TRACE=file] [SCENARIO=name|file] [RUN=name] [ARGS='--seed 3 ...']
# make test | test-all | test-pythons | mutants | fuzz | audit | lab | bench | scorecard | clean
#
# The first use sets up an environment: conda's if conda, mamba or micromamba is there, else a virtual one.
# SAGESERVE_ENV=conda or SAGESERVE_ENV=venv chooses.

SHELL := /bin/bash
.SILENT:
.DEFAULT_GOAL := help

STAMP := .venv/.ready
# A folder that was moved or copied, or another kind of environment asked for, is set up anew.
STALE := $(shell case "$$(cat $(STAMP) 2>/dev/null)" in ('' | $${SAGESERVE_ENV:-*}" $$(pwd -P)") ;; (*) echo yes ;; esac)
# Everything runs with the environment's programs first (glpsol among them), and one BLAS thread.
IN_ENV := . tools/activate.sh &&
# Tools that only their own targets need; an environment that uv made has no pip.
install = { uv pip install --quiet --python .venv/bin/python $(1) 2>/dev/null || python -m pip install --quiet $(1); }

# JupyterLab neither looks for newer versions of itself nor for news.
LAB_OFFLINE := --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

.PHONY: help report test test-all test-pythons mutants lint fuzz audit lab bench scorecard lock clean $(if $(STALE),$(STAMP))

help:
	echo "make report [TRACE=file] [SCENARIO=name|file] [RUN=name] [ARGS='...']   the five notebooks and one HTML report"
	echo "make test    lint, types and every test that takes seconds"
	echo "make test-all      all of that and the tests that take minutes, with line and branch coverage (CI runs this)"
	echo "make test-pythons  the tests in every supported version of Python that can be had (needs uv)"
	echo "make mutants       puts faults of the past back into a copy, one at a time: a test has to fail for each (ARGS='bound' for some)"
	echo "make fuzz          atheris on the readers until it finds something (FOR_S=60 for a minute; Linux)"
	echo "make audit         known vulnerabilities of the pinned packages (needs a network)"
	echo "make lab     JupyterLab on the notebooks"
	echo "make bench   speed of simulator, solvers and forecasts"
	echo "make scorecard   the published claims, tested: data/scorecard.csv and the README's table, in an hour"
	echo "make lock    pin the newest versions within the bounds of pyproject.toml (needs uv)"
	echo "make clean   remove the environment and caches; reports, data and generated files stay"

$(STAMP): pyproject.toml environment.yml requirements.lock tools/setup.sh
	bash tools/setup.sh

report: $(STAMP)
	$(IN_ENV) exec sageserve report \
	  $(if $(TRACE),--trace "$(TRACE)") $(if $(SCENARIO),--scenario "$(SCENARIO)") $(if $(RUN),--run "$(RUN)") $(ARGS)

lint: $(STAMP)
	$(IN_ENV) ruff check .
	$(IN_ENV) ruff format --check .
	$(IN_ENV) mypy

test: lint
	$(IN_ENV) exec python -m pytest

test-all: lint
	-$(IN_ENV) $(call install,--editable '.[fuzz]')
	rm -f .coverage .coverage.*
	$(IN_ENV) python -m pytest -m '' --cov --cov-report=
	$(IN_ENV) exec python -m coverage report

test-pythons: $(STAMP)
	bash tools/test-pythons.sh $(ARGS)

mutants: $(STAMP)
	$(IN_ENV) exec python tools/mutants.py $(ARGS)

fuzz: $(STAMP)
	$(IN_ENV) $(call install,--editable '.[fuzz]')
	$(IN_ENV) exec python tests/project/fuzz_readers.py $(if $(FOR_S),-max_total_time=$(FOR_S)) $(ARGS)

audit: $(STAMP)
	$(IN_ENV) $(call install,pip-audit) && exec pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

lab: $(STAMP)
	$(IN_ENV) exec jupyter lab --notebook-dir=notebooks $(LAB_OFFLINE) $(ARGS)

bench: $(STAMP)
	$(IN_ENV) exec python -m sageserve_lib.bench

scorecard: $(STAMP)
	$(IN_ENV) exec sageserve scorecard --update

lock: # Needs uv
	uv pip compile --universal --python-version 3.11 --extra dev --no-header --no-emit-index-url --quiet \
	  --upgrade pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis data/generated  # the last by earlier versions
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	echo "Removed the environment and caches. Generated files are in another folder: README.md, Generated files."
