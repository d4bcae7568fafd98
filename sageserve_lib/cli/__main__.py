"""``python -m sageserve_lib.cli``."""

from sageserve_lib.cli import main

main()
