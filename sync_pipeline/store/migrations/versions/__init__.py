"""One module per schema revision, not generated and never changed after a release."""
