"""Names of files that every system can have, those of Windows among them."""

from pathlib import Path, PurePath, PurePosixPath

import pytest

from hyperstem import files
from hyperstem.separation.names import filled, track_name, windows_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Song", "Song"),
        ("Song.", "Song"),
        ("Song...", "Song"),
        ("Song . .", "Song"),
        ("Song ", "Song"),
        (" Song", " Song"),
        (".hidden", ".hidden"),
        ("...", "_"),
        (" ", "_"),
        ("con", "con_"),
        ("NUL", "NUL_"),
        ("Aux.live", "Aux_.live"),
        ("prn .x", "prn _.x"),
        ("com1", "com1_"),
        ("COM\u00b2", "COM\u00b2_"),
        ("lpt9.a.b", "lpt9_.a.b"),
        ("conin$", "conin$_"),
        ("com10", "com10"),
        ("console", "console"),
        ("icon", "icon"),
        ('a<b>c:d"e/f\\g|h?i*j\n', "a_b_c_d_e_f_g_h_i_j_"),
        ("Ünïcødé 音楽", "Ünïcødé 音楽"),
    ],
)
def test_names_that_windows_can_have(given, name):
    assert windows_name(given) == name
    assert windows_name(name) == name


@pytest.mark.parametrize(
    ("file", "windows", "elsewhere"),
    [
        ("Song..mp3", "Song", "Song."),
        ("Why .mp3", "Why", "Why "),
        ("nul.mp3", "nul_", "nul"),
        ("..wav", "..wav", "..wav"),
    ],
)
def test_songs_are_called_what_the_system_can_have(file, windows, elsewhere):
    assert track_name(PurePosixPath(file), windows=True) == windows
    assert track_name(PurePosixPath(file), windows=False) == elsewhere


def test_folders_of_songs_are_called_so_too():
    folder = "AC. DC./con/Live "
    template = "{folder}/{track}/{stem}.{ext}"
    assert filled(template, "x", "bass", "wav", folder, windows=True) == PurePath("AC. DC/con_/Live/x/bass.wav")
    assert filled(template, "x", "bass", "wav", folder, windows=False) == PurePath("AC. DC./con/Live /x/bass.wav")
    assert filled(template, "x", "bass", "wav", windows=True) == PurePath("x/bass.wav")


def test_a_path_is_named_from_its_folder_in_any_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path("out"), tmp_path / "out", Path(files.extended(str(tmp_path / "out")))):
        for path in (tmp_path / "out/a/b.json", Path(files.extended(str(tmp_path / "out/a/b.json")))):
            assert files.name_in(folder, path) == "a/b.json"


@pytest.mark.parametrize(
    ("plain", "extended"),
    [
        (r"C:\Music\a", r"\\?\C:\Music\a"),
        (r"\\server\share\a", r"\\?\UNC\server\share\a"),
    ],
)
def test_paths_of_any_length_on_windows(plain, extended):
    assert files.extended(plain) == extended == files.extended(extended)
    assert files.without_extension(extended) == plain == files.without_extension(plain)


def test_only_paths_that_are_too_long_are_written_otherwise():
    short, long = Path("separated"), Path("x" * 150)
    for folder, below in ((short, 20), (long, 100)):
        assert files.reachable(folder, below, windows=False) == folder
    assert files.reachable(Path("/s"), 20, windows=True) == Path("/s")
    assert str(files.reachable(long, 100, windows=True)).startswith("\\\\?\\")
