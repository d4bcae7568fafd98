# To be sourced from the project's folder: its environment first on PATH.
export PATH="$PWD/.venv/bin:$PATH"
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1
# Threads in BLAS double the CPU time of small problems for nothing.
export OPENBLAS_NUM_THREADS=1
