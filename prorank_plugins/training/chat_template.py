"""A prompt as a chat template, for libraries that render (query, document) messages into one text."""

from __future__ import annotations

from prorank_plugins.rerank.prompt import Prompt

FILE = "chat_template.jinja"

_MESSAGES = """\
{%- set query = messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first -%}
{%- set document = messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first -%}
{%- set given = messages | selectattr('role', 'eq', 'system') | map(attribute='content') | list -%}
"""


def chat_template(prompt: Prompt) -> str:
    """The Jinja template that renders messages of the roles ``query``, ``document`` and ``system``.

    The system message is the instruction, as sentence-transformers and vLLM have it. The text is that of the
    prompt's pieces joined; a tokenizer may see other tokens in it than in the pieces apart.
    """
    instruction = [*_filled(prompt.instruction, "instruction"), repr(prompt.separator)]
    row = [
        repr(prompt.prefix),
        f"(({' ~ '.join(instruction)}) if instruction else '')",
        *_filled(prompt.query, "query"),
        repr(prompt.separator),
        *_filled(prompt.document, "document"),
        *([repr(prompt.separator), repr(prompt.task)] if prompt.task else []),
        repr(prompt.suffix),
    ]
    chosen = f"(given | first) if given else {prompt.default_instruction or ''!r}"
    return f"{_MESSAGES}{{%- set instruction = {chosen} -%}}\n{{{{- {' ~ '.join(row)} -}}}}"


def _filled(template: str, name: str) -> list[str]:
    """Expressions that make the text of a template of the prompt; Jinja's strings have Python's escapes."""
    before, after = template.split("{" + name + "}")
    return [repr(before), name, repr(after)]
