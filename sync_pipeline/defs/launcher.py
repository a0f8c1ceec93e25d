"""The name of ``hosting.launcher`` in a `dagster.yaml` of the version before; it will go with the next release."""

from sync_pipeline.hosting.launcher import WarmRunLauncher

__all__ = ["WarmRunLauncher"]
