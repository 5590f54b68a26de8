# make demo   the whole path on the bundled checkpoint and camera, ending with a picture
# make test   all tests
# make tune-demo   teach the bundled checkpoint a kind of thing it has never seen (docs/teaching.md)
# make lint   ruff, mypy and codespell
# make setup  the environment .venv with all that is needed, ROS 2 included; the others call it
# make clean  remove what was built; make distclean removes the environment as well
#
# PYTHON=python3.12 chooses the interpreter of a new environment (3.10 to 3.13). TORCH=cpu takes
# PyTorch without CUDA, for a machine without a GPU. What pip and the build say: build/setup.log.
#
# make test JOBS=4      by so many processes (default 2), each of which may need 4 GB
#
# make test ROS=jazzy   the tests that need ROS, with the wheels of that distribution in .venv-jazzy;
# make demo ROS=jazzy   all that is no ROS package is taken from .venv, where there is one

PYTHON ?= python3
TORCH ?=
ROS ?= kilted
JOBS ?= 2
VENV := .venv$(if $(filter-out kilted,$(ROS)),-$(ROS))
ROS_TESTS := $(shell grep -lE 'sphinx_ros\.(ros|msg)\b|mark\.ros\b' tests/test_*.py)
BIN := $(VENV)/bin
INTERFACES := $(wildcard msg/*.msg srv/*.srv action/*.action)
BUILD_INPUTS := $(INTERFACES) $(wildcard launch/* config/* cmake/*) \
	CMakeLists.txt package.xml setup.py pyproject.toml

.PHONY: demo tune-demo test lint setup clean distclean

demo: setup
	@$(BIN)/python -m sphinx_ros.ros.demo

tune-demo: setup
	$(BIN)/python bench/tune_demo.py

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
		$(if $(filter-out kilted,$(ROS)),$(ROS_TESTS))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

setup: $(VENV)/.sphinx-package

$(VENV)/.sphinx-requirements: pyproject.toml requirements/tested.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH="$(TORCH)" ROS="$(ROS)" sh tools/setup.sh requirements
	@touch $@

$(VENV)/.sphinx-package: $(VENV)/.sphinx-requirements $(BUILD_INPUTS)
	@VENV="$(VENV)" sh tools/setup.sh package
	@touch $@

clean:
	rm -rf build install log *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	rm -f .venv*/.sphinx-package
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-*
