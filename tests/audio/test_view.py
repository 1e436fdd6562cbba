import os

from hyperstem.audio.view import FileView


def test_stretches_are_one_file_with_other_bytes_in_places(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with FileView(path, [(10, 20), (50, 55)], {2: b"ab", 9: b"xy"}) as view:
        expected = bytes([10, 11]) + b"ab" + bytes(range(14, 19)) + b"xy" + bytes(range(51, 55))
        assert view.read() == expected
        assert view.seek(-3, os.SEEK_END) == 12
        assert view.read(100) == expected[12:]
        assert view.seek(3) == 3
        assert view.read(8) == expected[3:11]
        assert view.tell() == 11
        assert view.seek(-1, os.SEEK_CUR) == 10
        view.seek(200)
        assert view.read(1) == b""
