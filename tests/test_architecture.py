"""The layers, the public surface, and what importing the package costs."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import prorank_plugins

PACKAGE = Path(prorank_plugins.__file__).parent
HEAVY = [
    "torch",
    "transformers",
    "numba",
    "sklearn",
    "scipy",
    "ray",
    "langchain_core",
    "llama_index",
    "numpy",
    "Stemmer",
    "tqdm",
]

# Layer → layers of this package it may import, and third-party packages it may use.
LAYERS = {
    "core": (set(), {"numpy"}),
    "lexical": ({"core"}, {"numpy", "numba", "llvmlite", "Stemmer", "tqdm"}),  # llvmlite comes with numba
    "evaluation": ({"core"}, {"numpy"}),
    "rerank": ({"core"}, {"numpy", "torch", "transformers", "sklearn", "tqdm", "safetensors"}),
    "training": (
        {"core", "rerank", "lexical", "evaluation"},
        {
            "numpy",
            "torch",
            "transformers",
            "tqdm",
            "peft",
            "safetensors",
            "accelerate",
            "matplotlib",
            "tensorboard",
        },
    ),
    "langchain": (
        {"core", "lexical", "rerank"},
        {"numpy", "langchain_core", "pydantic", "typing_extensions"},
    ),
    "llama_index": ({"core", "lexical", "rerank"}, {"numpy", "llama_index", "pydantic"}),
    "cli": ({"core", "lexical", "evaluation", "rerank", "training", "cli"}, None),
}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imports_of(path):
    """Dotted names a file imports anywhere, absolute."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_lower_layers(path):
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer == "__init__":
        return
    own, third_party = LAYERS[layer]
    for name in imports_of(path):
        root, *rest = name.split(".")
        if root == "prorank_plugins":
            above = layer == "cli" and not rest
            assert above or (rest and rest[0] in own | {layer}), f"{path} of {layer} imports {name}"
        elif third_party is not None and root not in sys.stdlib_module_names:
            assert root in third_party, f"{path} of {layer} imports {name}"


def test_numba_appears_in_the_kernels_only():
    library = [path for path in modules() if path.relative_to(PACKAGE).parts[0] != "cli"]
    users = [path for path in library if "numba" in {name.split(".")[0] for name in imports_of(path)}]
    assert users
    assert {path.parent for path in users} == {PACKAGE / "lexical" / "kernels"}


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, prorank_plugins; print([m for m in {HEAVY} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_using_the_lexical_names_loads_no_framework_and_no_model_library():
    code = (
        "import sys; from prorank_plugins import LexicalIndex; LexicalIndex.build(['a cat']).search('cat')\n"
        "heavy = ('torch', 'transformers', 'sklearn', 'ray', 'langchain_core', 'llama_index')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_importing_training_and_its_settings_loads_no_model_library():
    code = (
        "import sys; from prorank_plugins.training import RankingGroup, ScoreLearningConfig, WarmupConfig\n"
        "from prorank_plugins import training; dir(training)\n"
        "heavy = ('torch', 'transformers', 'safetensors', 'peft', 'matplotlib', 'numba')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_name_of_training_resolves_to_what_it_names():
    from prorank_plugins import training

    assert sorted(training.__all__) == sorted(training._HOME_OF)
    for name in training.__all__:
        assert getattr(training, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        training.nothing  # noqa: B018


def test_every_name_of_rerank_resolves_from_a_module_that_loads_nothing_heavy():
    code = (
        "import sys; from prorank_plugins.rerank import Chunking, MemoryScoreCache, Prompt, fuse\n"
        "print([m for m in ('torch', 'transformers', 'safetensors', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"

    from prorank_plugins import rerank

    assert sorted(rerank.__all__) == sorted(rerank._HOME_OF)
    assert all(getattr(rerank, name) is not None for name in rerank.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rerank.nothing  # noqa: B018


def test_every_public_name_resolves_and_is_listed_once():
    assert len(prorank_plugins.__all__) == len(set(prorank_plugins.__all__))
    assert sorted(prorank_plugins.__all__, key=str.lower) == sorted(prorank_plugins._HOME_OF, key=str.lower)
    for name in prorank_plugins.__all__:
        assert getattr(prorank_plugins, name).__name__ == name
    assert set(prorank_plugins.__all__) <= set(dir(prorank_plugins))
    assert prorank_plugins.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        prorank_plugins.nothing  # noqa: B018


CONTRACT = {
    "prorank_plugins": (
        "LexicalIndex LexicalRetriever BMX BM25 Analyzer AnalyzerConfig Document WeightedQuery"
    ),
    "prorank_plugins.evaluation": (
        "load_beir load_stdlib_qa evaluate compare ndcg recall reciprocal_rank average_precision"
    ),
    "prorank_plugins.training": (
        "RelevanceExample RankingGroup WarmupConfig ScoreLearningConfig warm_up learn_scores distill "
        "mine_negatives export"
    ),
    "prorank_plugins.langchain": "BMXRetriever ProRankCompressor",
    "prorank_plugins.llama_index": "BMXRetriever ProRankPostprocessor",
}


@pytest.mark.parametrize("module", CONTRACT)
def test_the_names_that_other_code_calls_are_there(module):
    assert set(CONTRACT[module].split()) <= set(importlib.import_module(module).__all__)


def test_every_module_imports():
    for module in pkgutil.walk_packages(prorank_plugins.__path__, "prorank_plugins."):
        if not module.name.endswith(("__main__", "stdlib_walk")):
            importlib.import_module(module.name)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_prints_or_pickles(path):
    tree = ast.parse(path.read_text("utf-8"))
    names = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    if path.relative_to(PACKAGE).parts[0] != "cli":
        assert "print" not in names
    assert not {"pickle", "marshal", "dill", "cloudpickle", "joblib"} & {
        name.split(".")[0] for name in imports_of(path)
    }
