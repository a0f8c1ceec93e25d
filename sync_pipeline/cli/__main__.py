"""``python -m sync_pipeline.cli``."""

from sync_pipeline.cli import main

main()
