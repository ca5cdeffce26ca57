"""The wheel works from a virtual environment of its own, away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on is taken from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("byway-*.whl")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv" / "lib").glob("python3.*/site-packages")
    target = ["--target", str(site), "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *target, str(wheel)], check=True, timeout=120)
    # Packages only: the editable install of the checkout is made of .pth files, which PYTHONPATH doesn't read.
    (dependencies,) = {path for path in map(Path, sys.path) if path.name == "site-packages"}
    (site / "dependencies.pth").write_text(f"import sys; sys.path.append({str(dependencies)!r})\n")
    return folder / "venv" / "bin" / "python"


def run(python: Path, code: str, cwd: Path) -> str:
    done = subprocess.run([str(python), "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_brings_its_own_code_and_templates(environment: Path, tmp_path: Path) -> None:
    code = "import xds, xdsctl, xds.paths; print(xds.__file__, xdsctl.__file__, xds.paths.data_file('sidecar.yaml'))"
    for place in run(environment, code, tmp_path).split():
        assert str(environment.parents[1]) in place


@pytest.mark.parametrize("module", ["xds.client.cli.main", "xdsctl.main"])
def test_its_commands_run(environment: Path, tmp_path: Path, module: str) -> None:
    code = f"import sys; sys.argv = ['x', '--help']; from {module} import main; main()"
    assert "Usage" in run(environment, code, tmp_path)


def test_a_sidecar_can_be_written_from_it(environment: Path, tmp_path: Path) -> None:
    code = """
from pathlib import Path
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir, write_private
from xds.registry.workload import Address, WorkloadId
one = Sidecar.of(StateDir(Path("s")), WorkloadId("dev", "deployment", "orders"), "o-1")
write_private(one.token_file, "t")
one.write(Address("127.0.0.1", 1))
print(one.bootstrap.read_text())
"""
    assert "dev/deployment/orders/o-1" in run(environment, code, tmp_path)
