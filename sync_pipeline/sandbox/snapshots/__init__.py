"""The Snapshots side of the sandbox: the generic contract, its keys, OAuth and analytics."""
