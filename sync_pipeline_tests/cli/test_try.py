from __future__ import annotations
import time, pytest, socket, sqlite3, os, subprocess
from pathlib import Path
from sync_pipeline_tests.cli.shell import Shell

def p(name, r, t):
    print("=====", name)
    print("CODE", r.code, f"{time.time()-t:.1f}s"); 
    if r.code: print(r.out[:3000]); 
    print("ERR", r.err)
def go(name, shell, *cmds):
    for cmd in cmds or (["sync"],):
        t=time.time(); r=shell(*cmd); p(name+" "+" ".join(cmd), r, t)

def test_member(shell: Shell) -> None:
    go("member", shell.with_(CLOCKIFY_API_KEY="sandbox-clockify-member-key"))
@pytest.mark.parametrize("kind", ["base2","reports"])
def test_urls(shell: Shell, kind) -> None:
    u=shell.team.sandbox.url
    ch=dict(base=dict(CLOCKIFY_BASE_URL=u+"/clockify"), base2=dict(CLOCKIFY_BASE_URL=u+"/snapshots"), snapbase=dict(SNAPSHOTS_BASE_URL=u+"/clockify/api/v1"), reports=dict(CLOCKIFY_REPORTS_URL=u+"/nope", CLOCKIFY_READER="report"))[kind]
    go(kind, shell.with_(**ch), ["sync"], ["check"])
@pytest.mark.parametrize("route", ["GET /clockify/*", "GET /snapshots/*", "POST /snapshots/*"])
@pytest.mark.parametrize("kind", ["html", "truncated_json", "status"])
def test_fault(shell: Shell, kind, route) -> None:
    shell.team.fault(kind, route)
    go(kind+" "+route, shell)
    shell.team.no_faults()
@pytest.mark.parametrize("route", ["*/time-entries*", "*/projects", "*/snapshots/locations*", "*/clients*"])
@pytest.mark.parametrize("kind", ["duplicate_page", "html"])
def test_dup(shell: Shell, kind, route) -> None:
    shell.team.fault(kind, route)
    go(kind+" "+route, shell.with_(CLOCKIFY_PAGE_SIZE="3"))
    shell.team.no_faults()
def test_unwritable(shell: Shell) -> None:
    f=shell.root/"file"; f.write_text("x")
    go("home is file", shell.with_(SYNC_HOME=str(f)))
    go("home below file", shell.with_(SYNC_HOME=str(f/"x")))
    go("home proc", shell.with_(SYNC_HOME="/proc/x"))
    go("home sys", shell.with_(SYNC_HOME="/sys"))
    go("db proc", shell.with_(SYNC_DATABASE_URL="sqlite:////proc/x.db"))
    go("db dir", shell.with_(SYNC_DATABASE_URL="sqlite:////tmp"))
    go("db bad", shell.with_(SYNC_DATABASE_URL="mysql://u:s3cret@h/x"))
    go("db bad", shell.with_(SYNC_DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/x"))
    f.write_text("x"*5000)
    go("db garbage", shell.with_(SYNC_DATABASE_URL=f"sqlite:///{f}"))
@pytest.mark.parametrize("where", ["store", "batches", "dagster", "home"])
@pytest.mark.parametrize("size", ["4k", "300k", "1M"])
def test_full(shell: Shell, where, size) -> None:
    d={"store":shell.root/"small","batches":shell.home/"batches","dagster":shell.home/"dagster","home":shell.home}[where]
    d.mkdir(parents=True)
    subprocess.run(["mount","-t","tmpfs","-o",f"size={size}","none",str(d)],check=True)
    try:
        s=shell.with_(SYNC_DATABASE_URL=f"sqlite:///{d}/sync.db") if where=="store" else shell
        go(f"full {where} {size}", s)
    finally:
        subprocess.run(["umount","-l",str(d)],check=True)
def test_locked(shell: Shell) -> None:
    shell("status")
    c=sqlite3.connect(shell.home/"sync.db", isolation_level=None)
    c.execute("BEGIN IMMEDIATE")
    go("locked for writing", shell, ["sync"], ["status"])
    c.execute("COMMIT")
    c.execute("PRAGMA locking_mode=EXCLUSIVE"); c.execute("BEGIN EXCLUSIVE"); 
    go("locked for all", shell, ["sync"])
    c.close()
def test_newer(shell: Shell) -> None:
    shell("status")
    c=sqlite3.connect(shell.home/"sync.db", isolation_level=None)
    c.execute("update alembic_version set version_num='9999'") if 'alembic_version' in str(c.execute("select name from sqlite_master").fetchall()) else print(c.execute("select name from sqlite_master").fetchall())
    c.close()
    go("newer", shell, ["sync"], ["status"])
