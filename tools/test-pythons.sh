#!/usr/bin/env bash
# The tests in every supported version of Python that can be had: `make test-pythons [ARGS='...']`.
# Each gets an environment of its own in .venv-pythons, from requirements.lock; one that cannot be had is named.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- -m 'not slow'

uv=$(command -v uv || { [ -x .venv/bin/uv ] && echo .venv/bin/uv; }) || { echo "uv is needed: pip install uv" >&2; exit 1; }
tested='' skipped='' failed=''
for version in 3.11 3.12 3.13; do
  folder=.venv-pythons/$version
  if ! "$uv" venv --quiet --no-project --allow-existing --python "$version" "$folder" 2>/dev/null \
    && ! { program=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python 2>/dev/null | tail -1) \
      && [ -n "$program" ] && "$uv" venv --quiet --no-project --allow-existing --python "$program" "$folder"; }; then
    skipped+=" $version"
    continue
  fi
  echo "Python $version"
  if "$uv" pip install --quiet --python "$folder/bin/python" --requirement requirements.lock \
    && "$uv" pip install --quiet --python "$folder/bin/python" --no-deps --editable . \
    && PATH="$PWD/$folder/bin:$PATH" "$folder/bin/python" -m pytest "$@"; then
    tested+=" $version"
  else
    failed+=" $version"
  fi
done
echo "Passed:${tested:- none}. Not to be had here:${skipped:- none}. Failed:${failed:- none}."
[ -z "$failed" ] && [ -n "$tested" ]
