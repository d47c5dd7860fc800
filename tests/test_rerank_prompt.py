"""The prompt: templates, presets, and what is saved of them."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.prompt import BGE_GEMMA, PRESETS, PRORANK, QWEN3_RERANKER, Prompt, preset_for


def test_the_query_is_put_where_the_template_says():
    assert PRORANK.head_text("what is BM25?", None) == "query: what is BM25?"
    assert PRORANK.document_text("BM25 is a formula.") == "document: BM25 is a formula."


def test_an_instruction_is_a_line_before_the_query():
    assert PRORANK.head_text("q", "find code") == "instruction: find code\nquery: q"


def test_an_empty_instruction_is_none():
    assert PRORANK.head_text("q", "") == PRORANK.head_text("q", None) == "query: q"


def test_qwen3_reranker_has_an_instruction_of_its_own_that_a_caller_replaces():
    assert QWEN3_RERANKER.head_text("q", None).startswith("<Instruct>: Given a web search query")
    assert QWEN3_RERANKER.head_text("q", "find code") == "<Instruct>: find code\n<Query>: q"


@given(st.text())
def test_braces_in_a_query_are_text(query):
    assert PRORANK.head_text(query, None) == "query: " + query
    assert PRORANK.document_text(query) == "document: " + query


def test_the_task_ends_the_users_turn_and_the_answer_begins_the_assistants():
    assert PRORANK.task.endswith("\nRelevance:")
    assert PRORANK.suffix == "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("prompt", PRESETS.values(), ids=PRESETS)
def test_a_prompt_survives_json(prompt):
    assert Prompt.from_json(prompt.to_json()) == prompt


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("mixedbread-ai/mxbai-rerank-base-v2", PRORANK),
        ("Qwen/Qwen3-Reranker-0.6B", QWEN3_RERANKER),
        ("BAAI/bge-reranker-v2-gemma", BGE_GEMMA),
        ("/models/mine", PRORANK),
    ],
)
def test_the_name_of_a_model_chooses_its_prompt(name, prompt):
    assert preset_for(name) == prompt


@pytest.mark.parametrize(
    "change",
    [
        {"query": "no place"},
        {"document": "{document} {document}"},
        {"instruction": "{query}"},
        {"query": 3},
        {"positive": ""},
        {"positive": "0"},
    ],
)
def test_a_prompt_that_cannot_work_is_refused(change):
    with pytest.raises(ConfigError):
        dataclasses.replace(PRORANK, **change)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "a prompt is an object of named texts, found list"),
        ({**PRORANK.to_json(), "colour": "red"}, "no field 'colour'"),
        ({**PRORANK.to_json(), "task": 7}, "the prompt's task must be text, found int"),
        ({**PRORANK.to_json(), "prefix": None}, "the prompt's prefix must be text, found NoneType"),
        ({"prefix": "a"}, "the prompt is incomplete"),
    ],
)
def test_json_that_is_no_prompt_is_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        Prompt.from_json(data)
