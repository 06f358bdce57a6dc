# Each command sets up what it needs in .venv, once, and again when settings.ini or setup.py change.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help swap demo test bench docs lab prepare clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 16

swap: .venv/swap ## swap a face and write the picture
	@if [ -e faceshifter/cli.py ]; then faceshifter swap --demo; else echo "Nothing is swapped yet: faceshifter.cli, the command line, is still to be written."; fi

demo: .venv/swap ## open a page in the browser that swaps faces
	@.venv/bin/python -m pip install --quiet --editable '.[demo,video]'
	faceshifter serve

test: ## every check of the project, as continuous integration runs them
	@bash .ci/run

bench: .venv/dev ## measure swaps and the training step, tens of minutes
	python -c "from faceshifter.benchmark import benchmark; benchmark(path='nbs/ch6_beyond/benchmark.json')"
	cd nbs/ch6_beyond && exec_nb 03c_benchmark.ipynb --dest 03c_benchmark.ipynb --exc_stop
	nbdev_clean --fname nbs/ch6_beyond/03c_benchmark.ipynb

docs: .venv/dev ## render the site into _docs
	python tools/docs.py site
	@echo "The site is in _docs; 'python -m http.server --directory _docs' serves it."

lab: .venv/dev ## open the notebooks in JupyterLab
	jupyter lab nbs

prepare: .venv/dev ## before a commit: export, test, clean, README
	nbdev_export
	OMP_NUM_THREADS=1 nbdev_test --n_workers 2
	nbdev_clean
	python tools/docs.py readme

clean: ## forget the site and what passed before
	rm -rf _docs _proc _screenshots .tested

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/swap: settings.ini setup.py | .venv/bin/python
	@echo "Installing the library into .venv; PyTorch is large, this takes some minutes."
	.venv/bin/python -m pip install --quiet --editable .
	@touch $@

.venv/dev: settings.ini setup.py | .venv/bin/python
	@echo "Installing the library and the tools into .venv; PyTorch is large, this takes some minutes."
	.venv/bin/python -m pip install --quiet --editable '.[dev,docs]'
	@[ ! -d .git ] || nbdev_install_hooks
	@touch .venv/swap $@
