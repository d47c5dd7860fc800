"""Lists the docstrings of Python's standard library as JSON lines; `stdlib` runs it in a child process.

Importing every module of the library has side effects, so this file is a script of its own: it needs
nothing but the interpreter, and the process that wants the documentation stays as it was.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import BuiltinMethodType, ClassMethodDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

SIDE_EFFECTS = {"antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "ensurepip", "pip"}
# The halves of os, os.path and re that users reach through those names.
OS_HALVES = {"posix", "nt", "posixpath", "ntpath", "genericpath", "nturl2path"}
RE_HALVES = {"sre_compile", "sre_constants", "sre_parse"}
NOT_FOR_USERS = {
    "test",
    "lib2to3",
    "distutils",
    "msilib",
    "pydoc_data",
    "xxlimited",
    "xxlimited_35",
    "xxsubtype",
}
SKIPPED = SIDE_EFFECTS | OS_HALVES | RE_HALVES | NOT_FOR_USERS
# The codecs of `encodings` are tables, not something to call.
WITHOUT_SUBMODULES = frozenset({"encodings"})
# One description of os.path on every platform: ntpath documents its functions in comments only.
OTHER_HOMES = {"os.path": "posixpath"}
# The C half of socket.socket: its methods belong to the class that users create.
PRIVATE_CLASSES = frozenset({"socket.SocketType"})

AUTOMATIC_DOCS = ("An enumeration.",)


class Entry(NamedTuple):
    """One documented object."""

    id: str
    kind: str
    module: str
    text: str


@dataclass(frozen=True, eq=False)
class Place:
    """One name under which a module publishes an object."""

    module: str
    attribute: str
    obj: Any
    is_listed: bool

    @property
    def id(self) -> str:
        """Dotted name, without ``builtins.``: what a user would type."""
        return self.attribute if self.module == "builtins" else f"{self.module}.{self.attribute}"

    @cached_property
    def rank(self) -> tuple[Any, ...]:
        """Lower is the better name: built in, at home, in ``__all__``, no alias, short."""
        home = public_home(self.obj)
        return (
            self.module != "builtins",
            not (home == self.module or home.startswith(self.module + ".")),
            not self.is_listed,
            self.attribute != getattr(self.obj, "__name__", None),
            self.id.count("."),
            self.id,
        )


def is_public(name: str) -> bool:
    """Whether no part of a dotted name begins with an underscore."""
    return not any(part.startswith("_") for part in name.split("."))


def public_home(obj: Any) -> str:
    """The defining module with its private parts made public: ``_io`` is io, ``pathlib._local`` pathlib."""
    home = getattr(obj, "__module__", None)
    if not isinstance(home, str):
        return ""
    first, *rest = home.split(".")
    public = [first.lstrip("_")]
    for part in rest:
        if part.startswith("_"):
            break
        public.append(part)
    return ".".join(public)


def import_or_none(name: str) -> ModuleType | None:
    """The module, or None where this platform or build lacks it."""
    try:
        return importlib.import_module(OTHER_HOMES.get(name, name))
    except (Exception, SystemExit):
        return None


def walk_modules() -> dict[str, ModuleType]:
    """Every public module that can be imported and does not announce its removal, by public name."""
    modules: dict[str, ModuleType] = {}
    waiting = sorted(sys.stdlib_module_names) + list(OTHER_HOMES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while waiting:
            name = waiting.pop()
            if not is_public(name) or name in SKIPPED or name.rpartition(".")[2] in ("test", "tests"):
                continue
            module = import_or_none(name)
            if module is None:
                continue
            modules[name] = module
            if name not in WITHOUT_SUBMODULES:
                path = getattr(module, "__path__", [])
                waiting += [f"{name}.{child.name}" for child in pkgutil.iter_modules(path)]
    leaving = [str(each.message) for each in caught if issubclass(each.category, DeprecationWarning)]
    return {name: modules[name] for name in sorted(modules) if not is_leaving(name, leaving)}


def is_leaving(name: str, messages: list[str]) -> bool:
    """Whether one of the deprecation messages is about this module or its package."""
    subject = re.escape(name.partition(".")[0])
    pattern = re.compile(rf"(the |module )*['\"]?{subject}['\"]?( module| package)? is deprecated", re.I)
    return any(pattern.match(message) for message in messages)


def published(name: str, module: ModuleType) -> Iterator[Place]:
    """The objects that a module offers: its ``__all__`` and whatever else was defined there."""
    listed = set(getattr(module, "__all__", ()))
    for attribute in sorted(listed | set(vars(module))):
        obj = getattr(module, attribute, None)
        if not is_public(attribute) or isinstance(obj, ModuleType):
            continue
        if attribute in listed or public_home(obj) in (name, module.__name__) or name == "builtins":
            yield Place(name, attribute, obj, attribute in listed)


def kind_of(obj: Any) -> str | None:
    """``class``, ``function``, or None for a constant. The special forms of `typing` count as classes."""
    if inspect.isclass(obj) or type(obj).__module__ == "typing":
        return "class"
    return "function" if is_routine(obj) else None


def is_routine(obj: Any) -> bool:
    """Whether this is a function or method, plain, built in, static, bound to a class or cached."""
    return (
        inspect.isroutine(obj)
        or isinstance(obj, staticmethod | classmethod)
        or inspect.isfunction(getattr(obj, "__wrapped__", None))
    )


def own_doc(obj: Any) -> str | None:
    """The cleaned docstring written for this object, None where there is none or it is automatic."""
    doc = getattr(obj, "__doc__", None)
    if not isinstance(doc, str) or not doc.strip() or doc in AUTOMATIC_DOCS:
        return None
    if inspect.isclass(obj):
        # Named tuples and data classes without a docstring get their own signature as one.
        automatic = hasattr(obj, "_fields") or hasattr(obj, "__dataclass_fields__")
        if automatic and re.fullmatch(rf"{obj.__name__}\(.*\)", doc):
            return None
    elif doc == type(obj).__doc__:
        return None
    return inspect.cleandoc(doc)


class Elided:
    """Stands for a default value that has no short spelling."""

    def __repr__(self) -> str:
        return "..."


def without_local_detail(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter without its annotation, and without a default that shows an address or a local path."""
    default = repr(parameter.default)
    is_local = "<" in default or any(repr(root)[1:-1] in default for root in (sys.base_prefix, sys.prefix))
    if is_local and parameter.default is not inspect.Parameter.empty:
        parameter = parameter.replace(default=Elided())
    return parameter.replace(annotation=inspect.Parameter.empty)


def signature_of(function: Callable[..., Any], drop_first: bool = False) -> str:
    """``(a, b=1)``, without annotations and memory addresses; empty where the interpreter knows none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if drop_first else 0 :]
        return str(inspect.Signature([without_local_detail(each) for each in parameters]))
    except Exception:  # a default that the interpreter cannot evaluate raises whatever it likes
        return ""


def underlying(obj: Any) -> Any:
    """What a static, class or bound method wraps: two names for it are one documented object."""
    if isinstance(obj, staticmethod | classmethod | MethodType):
        return obj.__func__
    if isinstance(obj, BuiltinMethodType) and not isinstance(obj.__self__, ModuleType | type | None):
        return inspect.getattr_static(type(obj.__self__), obj.__name__, obj)
    return obj


def best_places(modules: dict[str, ModuleType]) -> list[Place]:
    """One place for each published class or function.

    A bound method that a module offers as a function (``random.choice``) is an object of its own: the
    same function bound elsewhere (``secrets.choice``) serves another purpose.
    """
    best: dict[tuple[int, int], Place] = {}
    for name, module in modules.items():
        for place in published(name, module):
            if kind_of(place.obj) is None or place.id in PRIVATE_CLASSES:
                continue
            bound_to = (
                getattr(place.obj, "__self__", None) if underlying(place.obj) is not place.obj else None
            )
            key = (id(underlying(place.obj)), id(bound_to))
            if key not in best or place.rank < best[key].rank:
                best[key] = place
    return list(best.values())


def members(cls: type, public_classes: frozenset[type]) -> Iterator[tuple[str, Any, type]]:
    """Names, values and bases: what a class defines, or a private base that no public base of it shares."""
    seen: set[str] = set()
    for base in cls.__mro__:
        is_own = base is cls or (
            base not in public_classes
            and not any(parent in public_classes and issubclass(parent, base) for parent in cls.__mro__[1:])
        )
        for name, raw in vars(base).items():
            if is_public(name) and name not in seen:
                seen.add(name)
                if is_own:
                    yield name, raw, base


def repeats_a_base(cls: type, name: str, doc: str, public_classes: frozenset[type]) -> bool:
    """Whether a public base says the same of the same method: the docstring was copied down."""
    bases = [base for base in cls.__mro__[1:] if base in public_classes]
    return any(own_doc(underlying(getattr(base, name, None))) == doc for base in bases)


def method_entry(place: Place, name: str, raw: Any) -> Entry | None:
    """The entry of a documented method or property of a published class."""
    doc = own_doc(underlying(raw))
    if doc is None:
        return None
    id = f"{place.id}.{name}"
    if isinstance(raw, property):
        return Entry(id, "property", place.module, f"{id}\n{doc}")
    if not is_routine(raw):
        return None
    is_bound = isinstance(raw, classmethod | ClassMethodDescriptorType) or inspect.isbuiltin(raw)
    is_plain = not is_bound and not isinstance(raw, staticmethod)
    signature = signature_of(getattr(place.obj, name) if is_bound else underlying(raw), drop_first=is_plain)
    return Entry(id, "method", place.module, f"{id}{signature}\n{doc}")


def method_entries(places: list[Place]) -> Iterator[Entry]:
    """The documented methods and properties, each under one name of one class.

    A method that a module also offers as a function is left to that function; a name the method was
    defined with comes before an alias, and a base of the same name (``_IOBase`` of ``IOBase``) before
    the other users of that base.
    """
    taken = {id(underlying(place.obj)) for place in places if kind_of(place.obj) == "function"}
    classes = [place for place in places if inspect.isclass(place.obj)]
    public_classes = frozenset(place.obj for place in classes)
    found: dict[int, tuple[tuple[Any, ...], Entry]] = {}
    for place in classes:
        for name, raw, base in members(place.obj, public_classes):
            key = id(underlying(raw))
            entry = method_entry(place, name, raw)
            if entry is None or key in taken:
                continue
            if repeats_a_base(place.obj, name, own_doc(underlying(raw)) or "", public_classes):
                continue
            is_foreign = base.__name__.lstrip("_") != place.obj.__name__
            rank = (is_alias(name, raw), is_foreign, len(place.obj.__mro__), entry.id)
            if key not in found or rank < found[key][0]:
                found[key] = (rank, entry)
    for _, entry in found.values():
        yield entry


def is_alias(name: str, raw: Any) -> bool:
    """Whether a class attribute is a second name of a function defined with another one."""
    function = raw.fget if isinstance(raw, property) else underlying(raw)
    return name != getattr(function, "__name__", name)


def walk() -> Iterator[Entry]:
    """Every documented public object of the library, each once, under its public name."""
    modules = walk_modules()
    for name, module in modules.items():
        if doc := own_doc(module):
            yield Entry(name, "module", name, f"{name}\n{doc}")
    places = best_places(modules)
    for place in places:
        kind = kind_of(place.obj)
        doc = own_doc(underlying(place.obj))
        if kind and doc:
            yield Entry(place.id, kind, place.module, f"{place.id}{signature_of(place.obj)}\n{doc}")
    yield from method_entries(places)


def main() -> None:
    """Write one JSON object a line, sorted by id, to the standard output."""
    # Some modules write while they are imported (readline to a terminal, for one), below sys.stdout.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    # An object comes before a submodule that it hides: unittest.main is what users call.
    entries: dict[str, Entry] = {}
    for entry in walk():
        if entry.id not in entries or entries[entry.id].kind == "module":
            entries[entry.id] = entry
    for id in sorted(entries):
        output.write(json.dumps(entries[id]._asdict(), ensure_ascii=True) + "\n")
    output.close()


if __name__ == "__main__":
    main()
