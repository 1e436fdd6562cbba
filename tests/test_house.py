"""What keeps the code readable as it grows; import levels are import-linter's."""

import ast
import re
from pathlib import Path

import hyperstem

SOURCE = Path(hyperstem.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


def test_few_modules_lie_outside_the_folders():
    assert len([path for path in SOURCE.glob("*.py") if path.name != "__init__.py"]) <= 6


def test_no_function_is_longer_than_a_screen():
    long = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None
                docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if documented else 0
                lines = node.end_lineno - node.lineno + 1 - docstring
                long += [f"{path.relative_to(SOURCE)}: {node.name} has {lines} lines"] if lines > 60 else []
    assert not long


def test_every_folder_says_what_is_in_it():
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_fields_are_explained_by_strings_under_them():
    """Neither in the class's docstring nor in comments beside them: one way."""
    other_ways = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and _has_fields(node):
                fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
                comments = [lines[field.end_lineno - 1][field.end_col_offset :] for field in fields]
                if "Attributes:" in (ast.get_docstring(node) or "") or any(
                    re.search("#(?! noqa| type:)", comment) for comment in comments
                ):
                    other_ways.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert not other_ways


def _has_fields(node: ast.ClassDef) -> bool:
    named = "NamedTuple" in map(ast.unparse, node.bases)
    return named or any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
