"""Connection tests: whether both systems answer, accept our credentials and allow what a sync does."""
