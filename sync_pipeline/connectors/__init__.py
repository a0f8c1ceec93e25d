"""The outside over HTTP: the only package that imports httpx."""
