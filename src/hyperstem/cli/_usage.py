"""Wrong usage: one line with a hint on standard error, and exit status 2, for every subcommand."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from hyperstem.errors import ConfigError, HyperstemError


class UsageError(HyperstemError):
    """The command line is wrong."""


@contextmanager
def usage(*errors: type[HyperstemError]) -> Iterator[None]:
    """Reports settings that the block refuses as wrong usage, because the user typed them.

    Raises:
        UsageError: instead of a ConfigError, or of `errors`.
    """
    try:
        yield
    except HyperstemError as error:
        if isinstance(error, errors or ConfigError):
            raise UsageError(str(error)) from None
        raise


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line and status 2."""
        message = re.sub(r"^argument ([^ ]+): (is )?", lambda found: found[1] + (" is " if found[2] else ": "), message)
        line = " ".join(message.splitlines())
        print(f"hyperstem: {line} (usage: {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def refuse(self, words: list[str]) -> NoReturn:
        """Ends the program because of unknown arguments."""
        word = words[0].partition("=")[0]
        if not word.startswith("-"):
            self.error(f"{word!r} is one argument too many")
        self.error(f"no option {word}{did_you_mean(word, self._option_string_actions)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the most similar known word, if there is one."""
    alike = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {alike[0]}?" if alike else ""
