#!/usr/bin/env bash
# Make the environment in .venv, from conda-forge or from PyPI; see the Makefile. Whole, or without its stamp.
# The stamp holds the kind of environment and the folder, which the programs in it know by its absolute path.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX
export PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*" >&2; }
stop() { say "Set-up failed: $*"; exit 1; }

conda_program() { for name in mamba micromamba conda; do command -v "$name" && return; done; return 1; }

python_program() {
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

from_conda() {
  local program
  kind=conda
  program=$(conda_program) || stop "conda, mamba and micromamba are not on PATH."
  say "Setting up from conda-forge with $(basename "$program") (environment.yml), once; this takes minutes ..."
  case $(basename "$program") in
    micromamba) "$program" create --yes --prefix "$PWD/.venv" --file environment.yml ;;
    # Older versions of conda know this variable, but not --yes.
    *) CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true "$program" env create --prefix "$PWD/.venv" --file environment.yml ;;
  esac || stop "$(basename "$program") could not make the environment. With SAGESERVE_ENV=venv it is made from PyPI instead."
  .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
}

from_pypi() {
  local uv python
  kind=venv
  if uv=$(command -v uv); then
    say "Setting up from PyPI with uv (requirements.lock), once; this takes a minute or so ..."
    "$uv" venv --quiet --no-project --python '>=3.11,<3.14' .venv || stop "uv found no Python 3.11, 3.12 or 3.13."
    "$uv" pip install --quiet --python .venv/bin/python --requirement requirements.lock
    "$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
    return
  fi
  python=$(python_program) || stop "no Python 3.11, 3.12 or 3.13 was found. Install one, or conda, or uv."
  say "Setting up from PyPI with $("$python" --version) (requirements.lock), once; this takes a minute or two ..."
  "$python" -m venv .venv || stop "this Python cannot make virtual environments. On Debian and Ubuntu install python3-venv."
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null; then
    .venv/bin/uv pip install --quiet --python .venv/bin/python --requirement requirements.lock
    .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
  else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
  fi
}

# PyPI's glpsol is a Python script: slow to start, and broken by spaces in the folder's name.
call_glpsol_directly() {
  local prefix
  for prefix in .venv/lib/python3*/site-packages/cmeel.prefix; do
    [ -x "$prefix/bin/glpsol" ] || return 0
    rm -f .venv/bin/glpsol
    cat >.venv/bin/glpsol <<END
#!/bin/sh
prefix="\${0%/*}/../${prefix#.venv/}"
LD_LIBRARY_PATH="\$prefix/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$prefix/bin/glpsol" "\$@"
END
    chmod +x .venv/bin/glpsol
  done
}

case ${SAGESERVE_ENV:-} in
  conda) make_environment=from_conda ;;
  venv) make_environment=from_pypi ;;
  '') if conda_program >/dev/null; then make_environment=from_conda; else make_environment=from_pypi; fi ;;
  *) stop "SAGESERVE_ENV is '$SAGESERVE_ENV'; expected conda or venv." ;;
esac
rm -rf .venv
$make_environment
call_glpsol_directly

.venv/bin/glpsol --version >/dev/null 2>&1 || rm -f .venv/bin/glpsol
if [ -x .venv/bin/glpsol ]; then
  say "Solvers: GLPK and HiGHS."
elif found=$(command -v glpsol); then
  say "Solvers: GLPK from $found, and HiGHS."
else
  say "Solver: no GLPK is to be had here, so HiGHS is used instead."
fi
printf '%s %s\n' "$kind" "$(pwd -P)" >.venv/.ready
