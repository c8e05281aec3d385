"""How mv_peft is imported: its public names are loaded when they are first used, and PEFT is told of its methods.

`import mv_peft` loads neither torch nor PEFT. The `__init__.pyi` of a package is the one list of its public names, with
the module that each is loaded from; type checkers read it, and so does `load_lazily` (PEP 562).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

_waiting: list[str] = []  # the functions that `run_after_import` has still to call, as "module:function"


def load_lazily(name: str) -> None:
    """Make a package load the names in its `__init__.pyi` when they are first used.

    Args:
        name: The package's `__name__`. One without an `__init__.pyi` has no public names.
    """
    package = sys.modules[name]
    package.__class__ = LazyPackage
    origins, others = _read_stub(package)
    package.__dict__.update(_origins=origins, __all__=sorted({*origins, *others}))


class LazyPackage(ModuleType):
    """A package that loads its public names when they are first used."""

    def __getattr__(self, name: str) -> Any:
        origin = self.__dict__["_origins"].get(name)
        if origin is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(origin), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Take a submodule, which Python sets as an attribute of its package once it is loaded."""
        if isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}":
            # `mv_peft.hub.load` is a function, although the file that it stands in has the same name.
            if name in self.__dict__["_origins"]:
                value = getattr(import_module(self.__dict__["_origins"][name]), name)
            super().__setattr__(name, value)
            _run_waiting()
        else:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__["__all__"]})


def _read_stub(package: ModuleType) -> tuple[dict[str, str], list[str]]:
    """Read a package's stub: the module of each name that it imports, and the names that the package itself defines."""
    assert package.__file__ is not None
    loader: Any = package.__loader__
    try:
        source = loader.get_data(f"{package.__file__.rpartition('.')[0]}.pyi")
    except OSError:
        return {}, []
    statements = ast.parse(source).body
    origins = {
        alias.name: resolve_name("." * statement.level + (statement.module or ""), package.__name__)
        for statement in statements
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    defined = [statement.target for statement in statements if isinstance(statement, ast.AnnAssign)]
    return origins, [target.id for target in defined if isinstance(target, ast.Name)]


def run_once_peft_is_loaded(function: str) -> None:
    """Call a function as soon as PEFT has been imported, or now if it has been.

    The call waits until no module of PEFT and none of ours is half loaded, since the function may import any of them.
    If one of our modules imports PEFT, the function runs when the outermost of them is complete. If PEFT's own import
    imports mv_peft, it runs when the next of our modules is loaded.

    Args:
        function: The function to call, as "module:function".
    """
    if sys.modules.get("peft") is not None:
        import_module("peft")  # waits for another thread that is about to load it
        _waiting.append(function)
        _run_waiting()
    else:
        sys.meta_path.insert(0, _PeftFinder(function))


class _PeftFinder:
    """Finds PEFT as the other finders do, and makes its loader report when PEFT is loaded."""

    def __init__(self, function: str) -> None:
        self.function = function

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "peft":
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            load = loader.exec_module

            def load_and_report(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    _waiting.append(self.function)
                    _run_waiting()

            loader.exec_module = load_and_report
        return spec


def _run_waiting() -> None:
    if not _waiting or any(map(_is_half_loaded, list(sys.modules))):
        return
    functions = list(_waiting)
    _waiting.clear()
    for function in functions:
        module, _, name = function.partition(":")
        getattr(import_module(module), name)()


def _is_half_loaded(name: str) -> bool:
    """Whether it is a module inside PEFT or mv_peft whose import has begun and not ended."""
    if not name.startswith(("mv_peft.", "peft.")):
        return False
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)
