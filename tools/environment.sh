#!/bin/sh
# Make or renew .venv from requirements.lock; called by make, from the top of the checkout.
# Looks for a Python 3.11 or 3.12 that works (a shim on PATH may not), else lets uv bring one.
set -eu

VENV=.venv
works='import ensurepip, ssl, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'

find_python() {
    for candidate in ${PYTHON:-} python3.12 python3.11 python3 python \
        "${HOME:-}"/.pyenv/versions/3.12.*/bin/python "${HOME:-}"/.pyenv/versions/3.11.*/bin/python; do
        if "$candidate" -c "$works" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

give_up() {
    cat >&2 <<'END'
nurt: setting up .venv: no Python 3.11 or 3.12 that works was found (Bytewax has wheels for no other).
  Install one, for example:
    Debian, Ubuntu   apt-get install python3.11 python3.11-venv
    Fedora           dnf install python3.12
    macOS            brew install python@3.12
    anywhere         install uv: https://docs.astral.sh/uv/ (it brings its own Python)
  or name one:       make PYTHON=/path/to/python3.12 ...
END
    exit 1
}

if ! "$VENV/bin/python" -c "$works" >/dev/null 2>&1; then
    rm -rf "$VENV"
    python=$(find_python)
    if [ -n "$python" ]; then
        echo "nurt: making $VENV with $("$python" --version)"
        "$python" -m venv "$VENV"
    elif command -v uv >/dev/null 2>&1; then
        echo "nurt: making $VENV with uv"
        uv venv --quiet --seed --python '>=3.11,<3.13' "$VENV" || give_up
    else
        give_up
    fi
fi

echo "nurt: installing the packages of requirements.lock (a minute the first time)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index \
    -e client -e .
