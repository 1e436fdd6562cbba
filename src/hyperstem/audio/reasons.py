"""Explains the errors of FFmpeg and libsndfile in plain words."""

_WORDS = {
    "Invalid data found when processing input": "its data are damaged or of an unknown kind",
    "End of file": "it ends before its sound begins",
    "Decoder not found": "its codec is not known",
    "Protocol not found": "it is no file",
    "Cannot allocate memory": "it needs more memory than there is",
}


def in_words(text: str | None) -> str:
    """An explanation of FFmpeg's or libsndfile's error text; a general one if the text is unknown."""
    for known, words in _WORDS.items():
        if text and known.lower() in text.lower():
            return words
    return "its data are damaged or of an unknown kind"
