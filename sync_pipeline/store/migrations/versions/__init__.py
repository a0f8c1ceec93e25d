"""One module per schema revision, written by hand and never changed after a release."""
