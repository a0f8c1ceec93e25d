"""The wheel outside of a checkout: it is installed, syncs in an empty folder, and fits into another team's project."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sync_pipeline_tests.scenarios.developing import free_port

ROOT = Path(__file__).parents[1]
PATIENCE = 180.0
DOCUMENTED = (ROOT / "docs" / "use-in-your-own-dagster.md").read_text().partition("```python\n")[2].partition("```")[0]
THEIRS = textwrap.dedent(DOCUMENTED).replace(
    "assets=[head_count], ", 'assets=[head_count], resources={"warehouse": dg.ResourceDefinition.none_resource()}, '
)

pytestmark = pytest.mark.outside


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment that has the wheel, and finds what it depends on where these tests run."""

    wheel: Path
    bin: Path

    def run(self, folder: Path, *words: str, **more: str) -> str:
        """Run one of its programs in a folder, with nothing set but what is given; returns its standard output."""
        environ = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder), **more}
        ended = subprocess.run(
            [self.bin / words[0], *words[1:]],
            check=False,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it; nothing is downloaded."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    building = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run([*pip, *building], check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
    python = place / "venv" / "bin" / "python"
    subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    # A line of a .pth file adds a directory after our own, and follows no .pth file in it: no editable install.
    (Path(own) / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return Installed(wheel, python.parent)


def test_it_holds_everything(installed: Installed) -> None:
    """Each file of the package, and how to configure the Dagster home; nothing of the tests."""
    with zipfile.ZipFile(installed.wheel) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "sync_pipeline").rglob("*") if path.is_file() and "__pycache__" not in path.parts)

    assert found == {str(path.relative_to(ROOT)) for path in files} | {"sync_pipeline/dagster.yaml"}


def test_it_syncs_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    """Without accounts, on its own sandbox; its Dagster home is configured like that of a checkout."""
    place = installed.run(tmp_path, "python", "-c", "import sync_pipeline; print(sync_pipeline.__file__)")
    assert Path(place).is_relative_to(installed.bin.parent)

    port = str(free_port())
    document = json.loads(
        installed.run(tmp_path, "sync-pipeline", "sync", "--verify", "--json", SYNC_SANDBOX_PORT=port)
    )

    assert document["success"]
    assert {name: counts["created"] > 0 for name, counts in document["entities"].items()} == {
        "locations": True,
        "projects": True,
        "users": True,
        "time_entries": True,
    }
    assert set(document["verify"]) == set(document["entities"])  # `success` means that both sides agree
    config = yaml.safe_load((tmp_path / ".sync" / "dagster" / "dagster.yaml").read_text())
    assert config == yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert [path.name for path in tmp_path.iterdir()] == [".sync"]


def test_it_is_part_of_another_teams_project(installed: Installed, tmp_path: Path) -> None:
    """The assets are merged into their definitions, run with their executor, and theirs run downstream of ours."""
    assert "warehouse" in THEIRS
    (tmp_path / "theirs.py").write_text(THEIRS)
    environ = {"SYNC_SANDBOX_PORT": str(free_port()), "DAGSTER_DISABLE_TELEMETRY": "yes"}

    listed = installed.run(tmp_path, "python", "-m", "dagster", "asset", "list", "-f", "theirs.py", **environ).split()
    assert {"locations", "users", "projects", "time_entries", "head_count"} <= set(listed)

    asked = ("python", "-m", "dagster", "asset", "materialize", "-f", "theirs.py", "--select", "users,head_count")
    installed.run(tmp_path, *asked, **environ)

    installed.run(tmp_path, "sync-pipeline", "verify", "--entity", "users", **environ)  # ends with 5 where they differ
