"""What is handed to others: types, the archive of the source, the wheel, the notices."""

import ast
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

import hyperstem

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROGRAM = """\
import numpy as np

import hyperstem

stems: hyperstem.Stems = hyperstem.separate("song.mp3")
vocals: np.ndarray = stems["vocals"]
rate_hz: int = stems.rate_hz
separator: hyperstem.Separator = hyperstem.Separator.load("default", quality="standard")
for block in separator.stream("song.mp3"):
    print(hyperstem.__version__, block.start, block["vocals"].shape, rate_hz)
gain: float = stems.save("out", format="flac").gain
"""
WRONG = """\
import hyperstem

hyperstem.separate(1)
count: int = hyperstem.separate("song.mp3")
hyperstem.Separator.load("default", quality="best")
hyperstem.divide("song.mp3")
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_public_names(tmp_path):
    """As an installed package: an environment whose only packages are the source's folder and this environment's."""
    pytest.importorskip("mypy")
    venv.create(tmp_path / "environment")
    python = tmp_path / "environment" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    source, packages = Path(hyperstem.__file__).parents[1], sysconfig.get_path("purelib")
    Path(purelib.strip(), "here.pth").write_text(f"{source}\n{packages}\n")
    programs = {"program.py": PROGRAM, "wrong.py": WRONG}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
    options = ["--strict", "--hide-error-context", "--no-error-summary", "--python-executable", str(python)]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *programs], cwd=tmp_path, capture_output=True, text=True
    )
    found = [re.match(r"([\w.]+):(\d+): error", line) for line in checked.stdout.splitlines()]
    assert [match.groups() for match in found if match] == [("wrong.py", str(line)) for line in (3, 4, 5, 6)], (
        checked.stdout
    )


def test_what_a_type_checker_is_told_is_what_is_loaded():
    """The names imported for type checkers come from where they are loaded from when the program runs."""
    tree = ast.parse(Path(hyperstem.__file__).read_text(encoding="utf-8"))
    told = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for name in set(hyperstem.__all__) - {"__version__"}:
        assert getattr(hyperstem, name).__module__ == told[name]
    assert (Path(hyperstem.__file__).parent / "py.typed").is_file()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_the_archive_of_the_source_has_all_that_is_worked_with(archives):
    with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ["pyproject.toml", "constraints.txt", "README.md", "CONTRIBUTING.md", "NOTICE.md", ".ci/run"]
    for folder in ("src", "tests", "tools", "benchmarks", "examples", "configs", "docs"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        wanted += [path.relative_to(ROOT).as_posix() for path in files if not path.name.startswith(".")]
    assert sorted(set(wanted) - inside) == []


@pytest.mark.slow
def test_the_wheel_has_types_notices_and_the_model_card(archives):
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        inside = wheel.namelist()
        for model, page in (("default", "model-card.md"), ("free", "model-card-free.md")):
            assert wheel.read(f"hyperstem/models/{model}/model-card.md") == (ROOT / "docs" / page).read_bytes()
    licences = {name.partition("/licenses/")[2] for name in inside if "/licenses/" in name}
    vendored = "src/hyperstem/web/static/vendor/wavesurfer/LICENSE"
    assert {"LICENSE", "NOTICE.md", vendored} <= licences
    assert "hyperstem/py.typed" in inside
    assert not [name for name in inside if not name.startswith("hyperstem")]


def test_the_notices_name_every_package_of_the_base_install_with_its_licence():
    notices = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
    for requirement in PROJECT["dependencies"]:
        name = re.split(r"[\[><=]", requirement)[0]
        row = next((line for line in notices.splitlines() if re.match(rf"\| [^|]*\b{name}\b", line)), None)
        assert row, f"NOTICE.md has no row of {name}"
        facts = metadata(name)
        licence = re.match(r"\w+", facts.get("License-Expression") or facts.get("License") or "")
        assert licence and licence[0].upper() in row.upper(), (name, licence)


def test_the_notices_name_every_package_of_the_extras():
    notices = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
    for extra, requirements in PROJECT["optional-dependencies"].items():
        if extra != "dev":
            assert f"`.[{extra}]`" in notices
            names = [re.split(r"[\[><=]", requirement)[0] for requirement in requirements]
            assert [name for name in names if not re.search(rf"\b{name}\b", notices)] == [], extra


def test_everything_vendored_is_in_the_notices_with_its_licence_beside_it():
    notices = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
    for folder in (ROOT / "src/hyperstem/web/static/vendor").iterdir():
        assert f"vendor/{folder.name}/" in notices
        assert (folder / "LICENSE").is_file()


def test_addresses_of_the_project_are_left_out_or_whole():
    assert all(re.fullmatch(r"https://\S+", address) for address in PROJECT.get("urls", {}).values())
