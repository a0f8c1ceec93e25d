"""What a run needs, opened once: settings, secrets, mode, store and clients."""
