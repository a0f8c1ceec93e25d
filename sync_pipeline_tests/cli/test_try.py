from __future__ import annotations
import time, pytest, socket, sqlite3
from pathlib import Path
from sync_pipeline_tests.cli.shell import Shell

def p(r, t):
    print("CODE", r.code, f"{time.time()-t:.1f}s"); 
    if r.code: print(r.out[:3000]); 
    print("ERR", r.err)

def free():
    s=socket.socket(); s.bind(("127.0.0.1",0)); return s

CASES = dict(
 wrong_clockify_key=dict(CLOCKIFY_API_KEY="wrong"),
 wrong_snap_key=dict(SNAPSHOTS_API_KEY="wrong"),
 member=dict(CLOCKIFY_API_KEY="sandbox-clockify-member-key"),
 workspace=dict(CLOCKIFY_WORKSPACE_ID="64c777ddd3fcab07cfbb210c"),
 refusedC=dict(CLOCKIFY_BASE_URL="http://127.0.0.1:1/api/v1"),
 refusedS=dict(SNAPSHOTS_BASE_URL="http://127.0.0.1:1"),
 readonly=dict(SNAPSHOTS_API_KEY="sandbox-snapshots-read-only-key"),
 single=dict(SNAPSHOTS_API_KEY="sandbox-snapshots-saas-location-read-key"),
 missing=dict(SNAPSHOTS_API_KEY=None),
 date=dict(SYNC_START_DATE="2026-13-01"),
 host=dict(SNAPSHOTS_BASE_URL="https://nowhere.invalid"),
 url=dict(SNAPSHOTS_BASE_URL="ftp://x"),
 url2=dict(CLOCKIFY_BASE_URL="http://"),
 mapdir=dict(SYNC_MAPPINGS_DIR="/nonexistent"),
)
@pytest.mark.parametrize("name", CASES)
def test_case(shell: Shell, name) -> None:
    shell=shell.with_(**CASES[name])
    if name in ("host",): shell=shell
    for cmd in (["sync","--yes"], ["check"]):
        t=time.time()
        r=shell(*cmd)
        print("=====", name, cmd)
        p(r,t)
@pytest.mark.parametrize("kind", ["base","base2","snapbase","reports"])
def test_urls(shell: Shell, kind) -> None:
    u=shell.team.sandbox.url
    ch=dict(base=dict(CLOCKIFY_BASE_URL=u+"/clockify"), base2=dict(CLOCKIFY_BASE_URL=u+"/snapshots"), snapbase=dict(SNAPSHOTS_BASE_URL=u+"/clockify/api/v1"), reports=dict(CLOCKIFY_REPORTS_URL=u+"/nope", CLOCKIFY_READER="report"))[kind]
    for cmd in (["sync"], ["check"]):
        t=time.time()
        r=shell.with_(**ch)(*cmd)
        print("=====", kind, cmd)
        p(r,t)
