import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperstem.errors import ConfigError
from hyperstem.web.guard import content_policy, host_is_allowed, host_name
from hyperstem.web.settings import StudioSettings
from hyperstem.web.uploads import UploadError, check_kind, clean_name, suffix_of

LOCAL = StudioSettings(folder=None)
OPEN = StudioSettings(folder=None, host="0.0.0.0", token="a-long-enough-token")


@pytest.mark.parametrize("host", ["127.0.0.1:8017", "localhost", "localhost:1", "[::1]:80", "LOCALHOST:80"])
def test_names_of_this_computer_pass(host):
    assert host_is_allowed(host, LOCAL) and host_is_allowed(host, OPEN)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8017",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost:8017@evil.example",
        "127.0.0.1:80:80",
        "user@127.0.0.1",
        "127.0.0.1/",
        "a b",
    ],
)
def test_other_names_do_not(host):
    assert not host_is_allowed(host, LOCAL) and not host_is_allowed(host, OPEN)


def test_addresses_pass_only_where_other_computers_may_ask():
    assert host_is_allowed("192.168.1.5:8017", OPEN) and not host_is_allowed("192.168.1.5:8017", LOCAL)


@given(st.text(max_size=40))
def test_any_host_header_is_judged(text):
    assert host_is_allowed(text, LOCAL) == (host_name(text) in ("localhost", "127.0.0.1", "::1"))


def test_an_open_studio_needs_a_token():
    for host in ("0.0.0.0", "192.168.1.5", "::", "studio.example"):
        with pytest.raises(ConfigError, match="token"):
            StudioSettings(folder=None, host=host)
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert StudioSettings(folder=None, host=host).is_loopback
    with pytest.raises(ConfigError, match="token"):
        StudioSettings(folder=None, token="two words")
    with pytest.raises(ConfigError, match="running is 0"):
        StudioSettings(folder=None, running=0)


def test_policy_allows_no_inline_script():
    policy = content_policy("N")
    assert (
        "script-src 'self' 'wasm-unsafe-eval';" in policy
        and "'unsafe-" not in policy
        and "default-src 'none'" in policy
    )
    assert "frame-ancestors 'none'" in policy


@given(st.text(max_size=300))
def test_a_name_is_only_words_to_show(name):
    clean = clean_name(name)
    assert 1 <= len(clean) <= 200
    assert ("/" not in clean and "\\" not in clean and clean.isprintable()) or any(c.isspace() for c in clean)
    assert not any(ord(char) < 32 for char in clean)


def test_names_and_endings():
    assert clean_name("../../etc/passwd") == "passwd"
    assert clean_name("C:\\music\\Söng 1.mp3") == "Söng 1.mp3"
    assert clean_name("a\x00b\nc.mp3") == "abc.mp3"
    assert clean_name("///") == "song"
    assert suffix_of("A.MP3") == ".mp3" and suffix_of("x.stem.mp4") == ".mp4"
    assert suffix_of("x.sh") == "" and suffix_of("x.mp3/../../y") == ""


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "empty"),
        (b"just words, nothing more\n", "text"),
        (b"\x89PNG\r\n\x1a\n....", "picture"),
        (b"PK\x03\x04....", "zip"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x7fELF....", "program"),
    ],
)
def test_what_is_plainly_no_sound_is_refused(tmp_path, content, word):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(UploadError, match=word) as caught:
        check_kind(path)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    "content", [b"RIFF", b"ID3\x04\x00", b"\xff\xfb\x90\x00", b"OggS\x00", b"\x00\x00\x00\x18ftypM4A "]
)
def test_what_may_be_sound_is_not(tmp_path, content):
    path = tmp_path / "upload"
    path.write_bytes(content)
    check_kind(path)
