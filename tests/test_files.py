import pytest

from hyperstem.files import TEMPORARY, replacing, write_text


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "früher")
    write_text(path, "später")
    assert path.read_text(encoding="utf-8") == "später"
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk"), replacing(path) as temporary:
        temporary.write_text("ne")
        assert temporary in tmp_path.glob(TEMPORARY)
        raise OSError("disk")
    assert [found.name for found in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_a_name_of_any_length_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    write_text(path, "")
    assert path.exists()
