"""What a library says went wrong, in words for people."""

_WORDS = {
    "Invalid data found when processing input": "its data are damaged or of an unknown kind",
    "End of file": "it ends before its sound begins",
    "Decoder not found": "its codec is not known",
    "Protocol not found": "it is no file",
    "Cannot allocate memory": "it needs more memory than there is",
}


def in_words(text: str | None) -> str:
    """FFmpeg's or libsndfile's text where it helps, else what can be said of every damaged file."""
    for known, words in _WORDS.items():
        if text and known.lower() in text.lower():
            return words
    return "its data are damaged or of an unknown kind"
