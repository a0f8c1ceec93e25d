"""The outside over HTTP: only its transport imports httpx."""
