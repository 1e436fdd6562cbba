from damaged import joined, whole, with_zeros
from hyperstem.audio import ogg


def test_one_file_is_one_link(tmp_path):
    path = whole(tmp_path / "a.ogg")
    (link,) = ogg.links(path)
    assert link == ogg.Link(0, path.stat().st_size, closed=True, whole=True, holes=0)


def test_chained_files_are_links(tmp_path):
    parts = [whole(tmp_path / f"{i}.opus", 1, seed=i) for i in range(3)]
    links = ogg.links(joined(tmp_path / "a.opus", *parts))
    assert [link.end - link.start for link in links] == [part.stat().st_size for part in parts]
    assert all(link.whole and link.closed and not link.holes for link in links)


def test_a_damaged_page_is_a_hole(tmp_path):
    (link,) = ogg.links(with_zeros(whole(tmp_path / "a.ogg"), 10))
    assert (link.holes, link.whole) == (1, True)


def test_a_file_cut_short_is_not_whole(tmp_path):
    path = whole(tmp_path / "a.ogg")
    path.write_bytes(path.read_bytes()[:-1])
    (link,) = ogg.links(path)
    assert not link.whole


def test_what_is_no_ogg_has_no_links(tmp_path):
    (tmp_path / "a.ogg").write_bytes(b"OggS" * 100)
    assert ogg.links(tmp_path / "a.ogg") == ()
