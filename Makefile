# make demo   the whole path on the bundled checkpoint and camera, ending with a picture
# make test   all tests
# make lint   ruff, mypy and codespell
# make setup  the environment .venv with all that is needed, ROS 2 included; the others call it
# make clean  remove what was built; make distclean removes the environment as well
#
# PYTHON=python3.12 chooses the interpreter of a new environment (3.10 to 3.13). TORCH=cpu takes
# PyTorch without CUDA, for a machine without a GPU. What pip and the build say: build/setup.log.

PYTHON ?= python3
TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
INTERFACES := $(wildcard msg/*.msg srv/*.srv action/*.action)
BUILD_INPUTS := $(INTERFACES) $(wildcard launch/* config/* cmake/*) \
	CMakeLists.txt package.xml setup.py pyproject.toml

.PHONY: demo test lint setup clean distclean

demo: setup
	@$(BIN)/python -m sphinx_ros.ros.demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

setup: $(VENV)/.sphinx-package

$(VENV)/.sphinx-requirements: pyproject.toml requirements/tested.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH="$(TORCH)" sh tools/setup.sh requirements
	@touch $@

$(VENV)/.sphinx-package: $(VENV)/.sphinx-requirements $(BUILD_INPUTS)
	@VENV="$(VENV)" sh tools/setup.sh package
	@touch $@

clean:
	rm -rf build install log *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	rm -f $(VENV)/.sphinx-package
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
