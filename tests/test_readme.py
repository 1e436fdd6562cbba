"""The README and the other pages: commands that exist, files that are there."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import soundfile

from hyperstem.cli import build_parser, command_names, main
from hyperstem.models import store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]


def setup_lines():
    return re.findall(r"^```sh\n(python3 -m venv .*)\n```$", README, flags=re.MULTILINE)


def shell_lines(page):
    """Lines of code blocks that call hyperstem, with continued lines joined."""
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = (re.sub(r"^\$ ", "", line.split(" #")[0]).strip() for line in lines)
    return [call for call in calls if call.startswith("hyperstem ") and not re.search(r"\[|\||\.\.\.|<", call)]


def test_two_lines_set_up_the_main_job_and_the_tests():
    main_job, tests = setup_lines()
    assert main_job.split(" && ")[:2] == ["python3 -m venv .venv", ".venv/bin/pip install -c constraints.txt '.[plot]'"]
    install, run = tests.split(" && ")[1:]
    assert (install, run) == (".venv/bin/pip install -c constraints.txt -e '.[dev]'", ".venv/bin/python -m pytest")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"plot", "dev"} <= set(extras)


def test_constraints_are_exact_and_hold_torch():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert "torch==2.13.0" in lines
    names = {re.split(r"==", line)[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(entry for extra in extras for entry in extra)]
    required = {re.split(r"[\[><=]", entry)[0].lower() for entry in wanted} - {"hyperstem"}
    assert required <= names


def test_the_main_job_separates_the_demo(tmp_path, capsys):
    if "default" not in store.names():
        pytest.skip("the default model is not built")
    words = shlex.split(setup_lines()[0].split(" && ")[-1])
    assert words[:3] == [".venv/bin/hyperstem", "separate", "examples/demo.ogg"]
    arguments = ["separate", str(ROOT / words[2]), *(word for word in words[3:] if word != "--plot")]
    assert main([*arguments, "-o", str(tmp_path), "--duration", "3", "--quality", "preview"]) == 0
    stems = {path.stem: soundfile.info(path) for path in (tmp_path / "demo").glob("*.wav")}
    song = soundfile.info(ROOT / words[2])
    assert set(stems) == {"vocals", "drums", "bass", "other"}
    assert all((info.frames, info.samplerate) == (3 * song.samplerate, song.samplerate) for info in stems.values())
    assert (tmp_path / "demo" / "manifest.json").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_parse(page):
    for line in shell_lines(page):
        words = shlex.split(line)[1:]
        if words[0].startswith("-"):
            continue
        try:
            build_parser(words[0] if words[0] in command_names() else None).parse_args(words)
        except SystemExit as error:
            if error.code:
                pytest.fail(f"{page.name}: {line}")


def test_every_command_is_in_the_readme():
    assert [name for name in command_names() if f"`{name}`" not in README and f"hyperstem {name}" not in README] == []
