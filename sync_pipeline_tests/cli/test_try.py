from __future__ import annotations
import time
from sync_pipeline_tests.cli.shell import Shell

def p(r):
    print(r.code); print(r.out); print("ERR", r.err)

def test_a(shell: Shell) -> None:
    t=time.time()
    p(shell("sync", "--verify"))
    print(time.time()-t); t=time.time()
    p(shell("sync", "--json"))
    print(time.time()-t)
def test_b(shell: Shell) -> None:
    t=time.time()
    p(shell("sync", "--verify"))
    print(time.time()-t); t=time.time()
    p(shell("preview"))
    print(time.time()-t)
