# Each target sets up what it needs in .venv, from the versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BMI := .venv-bmi
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -q
PYTHONS ?= 3.11 3.12 3.13
# The examples whose figures are in docs/images.
IMAGES := digits fashion_mnist information_plane layerwise_digits layerwise_nnx \
  lr_range_test no_knob
.DEFAULT_GOAL := help
.PHONY: help demo data fashion test test-all check-wheel test-matrix coverage mutants lint format \
  docs figures check-figures bmi bench bench-compare bench-public bench-gpu constraints clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.installed-examples  ## train a network on the UCI digits
	$(BIN)/python examples/digits.py

data: $(VENV)/.installed-examples  ## find or install Fashion-MNIST and texts for benchmarks
	@$(BIN)/python benchmarks/get_data.py

fashion: $(VENV)/.installed-examples  ## train a network on Fashion-MNIST
	$(BIN)/python examples/fashion_mnist.py

test: $(VENV)/.installed-test  ## run the tests that are not slow, and all examples in docs
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST) -m "not slow" --hypothesis-profile=quick

test-all: $(VENV)/.installed-test  ## run every test, compiled as users compile
	$(PYTEST)

check-wheel: $(VENV)/.installed-dev  ## install a wheel in an empty environment, and run the README
	$(BIN)/python tests/wheel.py

test-matrix: $(BIN)/uv  ## test the oldest and newest versions of JAX, Optax and Flax
	PYTEST_ADDOPTS='-n $(PYTEST_WORKERS) --dist worksteal' \
	  $(BIN)/python tests/matrix.py --pythons $(PYTHONS) -- $(PYTEST_ARGS)

coverage: $(VENV)/.installed-test  ## measure which branches the tests take
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(PYTEST_WORKERS) --dist worksteal -q $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@$(BIN)/coverage json -q -o - | $(BIN)/python -c "import json, sys; \
	  share = json.load(sys.stdin)['totals']['percent_branches_covered']; \
	  print(f'{share:.1f} % of branches'); sys.exit(share < 95)"

mutants: $(VENV)/.installed-test  ## break the core in small ways: which tests notice?
	$(BIN)/python -m tests.mutants $(MODULES)

lint: $(VENV)/.installed-test $(VENV)/.installed-dev  ## check style and types, also those of the code in docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m tests.code_blocks

format: $(VENV)/.installed-dev  ## mend what lint can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(VENV)/.installed-examples $(VENV)/.installed-bench  ## draw all figures of the docs again
	for name in $(IMAGES); do \
	  $(BIN)/python examples/$$name.py --output outputs/figures || exit; done
	mv outputs/figures/fashion_mnist_mlp_0.png outputs/figures/fashion_mnist.png
	cp $(IMAGES:%=outputs/figures/%.png) docs/images
	$(BIN)/python benchmarks/figures.py docs/results

check-figures: $(VENV)/.installed-bench  ## compare what pages quote with docs/results
	$(BIN)/python benchmarks/check_figures.py

docs: $(VENV)/.installed-docs  ## build the site into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees -b doctest docs docs/_build/doctest
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bmi: $(BMI)/.installed  ## set up benchmark-mi, a peer that needs another JAX, in .venv-bmi

bench: $(VENV)/.installed-bench $(VENV)/.installed-peers  ## measure the train step, estimators and the range test against peers
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/layerwise_overhead.py
	$(BIN)/python benchmarks/average_overhead.py
	$(BIN)/python benchmarks/range_speed.py
	-@$(MAKE) --no-print-directory bmi
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/choice.py --samples 1000 --draws 1
	-$(BIN)/python benchmarks/public_mi.py --samples 1000 --seeds 2
	-$(BIN)/python benchmarks/image_pairs.py --kinds bit

bench-compare: $(VENV)/.installed-bench  ## compare ways to train, in short
	$(BIN)/python benchmarks/compare.py --short --seeds 2 --trials 3 \
	  --tasks digits_mlp,teacher,flower --methods core

bench-public: $(VENV)/.installed-bench bmi  ## measure estimators on the tasks of benchmark-mi
	$(BIN)/python benchmarks/public_mi.py

bench-gpu: $(VENV)/.installed-bench  ## measure everything on an NVIDIA card, in eight minutes
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt 'jax[cuda12]'
	$(BIN)/python benchmarks/gpu.py $(GPU_ARGS)

constraints: $(VENV)/.installed-dev  ## pin the newest versions of everything again
	$(BIN)/uv pip compile --upgrade --universal --all-extras --no-header \
	  --no-annotate --python-version 3.11 pyproject.toml -o constraints.txt

clean:  ## remove everything that is not in the repository
	rm -rf $(VENV) $(BMI) .venv-matrix outputs docs/_build .pytest_cache .ruff_cache .hypothesis

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "optax_mi needs Python 3.11 or newer: make PYTHON=/path/to/python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

# Its own bounds leave no room for the versions in constraints.txt.
$(BMI)/.installed: benchmarks/peers/benchmark_mi.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python 3.11 $(BMI)
	$(BIN)/uv pip install --quiet --python $(BMI)/bin/python -r $<
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt \
	  --build-constraints constraints.txt -e '.[$*]'
	@touch $@
