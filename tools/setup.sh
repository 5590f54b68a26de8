#!/bin/sh
# Two steps of the Makefile, each of which does only what is missing:
#   setup.sh requirements   system packages, the environment $VENV, Python packages, ROS 2 wheels
#   setup.sh package        this package into $VENV: interfaces, executables, an editable install
set -eu

VENV="${VENV:-.venv}"
PYTHON="${PYTHON:-python3}"
PIP="$VENV/bin/python -m pip --disable-pip-version-check"

# Debian's name of each thing that is missing and that no Python package brings.
missing_system_packages() {
    command -v g++ >/dev/null || echo g++
    command -v cmake >/dev/null || echo cmake
    for library in libEGL.so.1:libegl1 libOpenGL.so.0:libopengl0; do
        /sbin/ldconfig -p | grep -q "${library%%:*}" || echo "${library##*:}"
    done
    find /usr/lib -path '*/dri/swrast_dri.so' 2>/dev/null | grep -q . ||
        find /usr/lib -name 'libgallium*' 2>/dev/null | grep -q . || echo libgl1-mesa-dri
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo "python$version-venv"
    "$PYTHON" - <<'CHECK' || echo "python$version-dev"
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
CHECK
}

install_system_packages() {
    packages=$(missing_system_packages | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    root=""
    if [ "$(id -u)" != 0 ]; then root="sudo -n"; fi
    if command -v apt-get >/dev/null && $root true 2>/dev/null; then
        echo "installing $packages"
        $root apt-get update -qq || true
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq $packages >/dev/null && return 0
    fi
    echo "please install what is missing, then run make again: sudo apt install $packages" >&2
    # Without OpenGL the demonstration shows its recorded clip; without a compiler nothing works.
    case "$packages" in *g++* | *cmake* | *python*) exit 1 ;; esac
}

# Whether $VENV can import all that the package, its tests and its build need.
complete() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" - 2>/dev/null <<'CHECK'
import importlib.util, sys
names = """torch torchvision timm open_clip transformers sentencepiece huggingface_hub cv2 numpy yaml
tqdm mujoco rosbags pytest hypothesis ruff rclpy sensor_msgs std_msgs visualization_msgs
diagnostic_msgs rosidl_generator_py rosidl_generator_cpp ament_package catkin_pkg setuptools"""
sys.exit(any(importlib.util.find_spec(name) is None for name in names.split()))
CHECK
}

requirements() {
    install_system_packages
    if complete; then
        echo "$VENV has all that is needed"
        return 0
    fi
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
    $PIP install -q --upgrade pip "setuptools>=77" wheel
    # The Python part alone, for its requirements; the tested versions, or else any in range.
    export SPHINX_ROS_INTERFACES=off
    $PIP install --no-build-isolation -c requirements/tested.txt -e '.[world,ros,test]' || {
        echo "the tested versions do not all exist here; taking what the ranges allow" >&2
        $PIP install --no-build-isolation -e '.[world,ros,test]'
    }
}

package() {
    echo "building the ROS interfaces (a minute or two, the first time)"
    log="$VENV/.sphinx-build.log"
    if ! SPHINX_ROS_INTERFACES=on $PIP install -v --no-build-isolation --no-deps -e . >"$log" 2>&1
    then
        tail -n 40 "$log" >&2
        echo "the build failed; the whole log is $log" >&2
        exit 1
    fi
}

case "${1:-}" in
    requirements) requirements ;;
    package) package ;;
    *) echo "usage: setup.sh requirements|package" >&2; exit 2 ;;
esac
