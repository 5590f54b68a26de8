#!/usr/bin/env bash
# Everything that needs a GPU, in one command: finds Python, says what is missing, measures.
#
#     bash bench/gpu.sh [--out FOLDER] [--quick] [--device cuda] [--sections ...]; --help says more
#
# PYTHON=... chooses the interpreter; without it the first of .venv, python3 and python that has
# torch. Exit codes: 0 all is measured and equal, 1 parity fails, 2 wrong use or something is
# missing, 3 parity holds and something could not be measured.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

lacks() {  # what an interpreter has not, of what is needed
    "$1" - <<'EOF'
from importlib.util import find_spec

needed = {"torch": "torch", "numpy": "numpy", "sentencepiece": "sentencepiece", "PIL": "pillow"}
print(*(package for module, package in needed.items() if find_spec(module) is None))
EOF
}

python="" missing=""
candidates=("$root/.venv/bin/python" python3 python)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
for one in "${candidates[@]}"; do
    if command -v "$one" >/dev/null && found=$(lacks "$one") && [[ "$found" != *torch* ]]; then
        python=$one missing=$found
        break
    fi
done
if [ -z "$python" ]; then
    echo "gpu.sh: no Python with torch found; PYTHON=/path/to/python bash bench/gpu.sh" >&2
    exit 2
fi
if [ -n "$missing" ]; then
    echo "gpu.sh: $python lacks $missing: $python -m pip install $missing" >&2
    exit 2
fi

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" # the package need not be installed
case " $* " in *" --help "* | *" -h "*) exec "$python" "$root/bench/gpu.py" --help ;; esac
"$python" "$root/bench/gpu.py" "$@"
code=$?
case $code in
    0) said="all that was asked for was measured, and nothing is off the official numbers" ;;
    1) said="PARITY FAILS: see parity_over in gpu.json" ;;
    3) said="parity holds; some parts could not be measured: see failed_... in gpu.json" ;;
    *) exit $code ;;
esac
echo "gpu.sh: $said" >&2
exit $code
