# To be sourced from the project's folder: its environment first on PATH.
export PATH="$PWD/.venv/bin:$PATH"
# Bytecode is kept: without it every notebook would spend seconds compiling what it imports.
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE=1
# Threads in BLAS double the CPU time of small problems for nothing.
export OPENBLAS_NUM_THREADS=1
