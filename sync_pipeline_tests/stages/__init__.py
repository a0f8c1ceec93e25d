"""What the stages do, one module of tests for each of theirs."""
