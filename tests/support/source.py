"""The package's own source as data: what each module is called, imports and mentions."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "slackwater"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Python file."""

    path: Path
    module: str
    """Dotted name inside the package, without `slackwater.`: `flow.admit`; for a test its path."""
    lines: int
    tree: ast.Module

    @property
    def area(self) -> str:
        """The first part of its name: `flow`, `ports`, `cli`."""
        return self.module.split(".", 1)[0]

    def imports(self) -> set[str]:
        """Return the dotted names of all modules it imports, wherever the statement stands.

        `from a import b` counts as `a.b`: the caller compares prefixes, and b may be a module.
        """
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}: relative imports hide where things come from"
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        return found

    def mentions(self) -> Iterator[tuple[str, ast.expr]]:
        """Yield every name and attribute chain, spelled out through the imports: `datetime.datetime.now`."""
        names = dict(self._bindings())
        for node in ast.walk(self.tree):
            dotted = _dotted(node)
            if dotted:
                first, _, rest = dotted.partition(".")
                full = names.get(first, first)
                yield (f"{full}.{rest}" if rest else full), node  # type: ignore[misc]

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield every function and method."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def _bindings(self) -> Iterator[tuple[str, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    # `import a.b` binds a; `import a.b as c` binds c to a.b.
                    root = alias.name.split(".")[0]
                    yield (alias.asname, alias.name) if alias.asname else (root, root)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"


@cache
def package() -> tuple[Source, ...]:
    """Return the modules of the package."""
    return tuple(_read(path, path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def tests() -> tuple[Source, ...]:
    """Return the modules of the tests."""
    directory = ROOT / "tests"
    return tuple(_read(path, path.relative_to(directory)) for path in sorted(directory.rglob("*.py")))


def _read(path: Path, relative: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    return Source(path=path, module=module, lines=len(text.splitlines()), tree=ast.parse(text, str(path)))


def _dotted(node: ast.AST) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])
