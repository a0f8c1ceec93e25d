"""Installs written by earlier versions, and the tests that start this version on them."""
