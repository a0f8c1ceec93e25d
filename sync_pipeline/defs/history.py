"""The name of ``hosting.run_storage`` in a `dagster.yaml` of the version before; it will go with the next release."""

from sync_pipeline.hosting.run_storage import History, StepOutput

__all__ = ["History", "StepOutput"]
