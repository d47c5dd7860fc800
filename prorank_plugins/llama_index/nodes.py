"""Nodes as the engine's documents, in memory and on disk, and back as copies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.schema import BaseNode, IndexNode, MediaResource, MetadataMode, NodeWithScore, TextNode

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError

NodeT = TypeVar("NodeT", bound="BaseNode | NodeWithScore")

NODE = "_llama_index_node"
"""Where an indexed document's metadata keeps the node it was made of."""


@dataclass(frozen=True, eq=False)
class KeptNode:
    """A node inside the engine: never changed, copied only on the way out."""

    node: BaseNode

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptNode:
        return self


def documents_of(nodes: Iterable[BaseNode]) -> list[Document]:
    """Nodes as the engine's documents; of nodes with one id the last."""
    documents = {}
    for position, node in enumerate(nodes):
        if not isinstance(node, BaseNode):
            raise ConfigError(f"nodes[{position}] must be a LlamaIndex node, found {type(node).__name__}")
        text = node.get_content(metadata_mode=MetadataMode.EMBED)
        documents[node.node_id] = Document(
            node.node_id, text, {**node.metadata, NODE: KeptNode(copied(node))}
        )
    return list(documents.values())


def copied(item: NodeT) -> NodeT:
    """A deep copy that shares what index nodes stand for, unless that is a node itself."""
    memo: dict[int, Any] = {}
    if isinstance(node := item.node if isinstance(item, NodeWithScore) else item, IndexNode):
        target = node.obj
        memo[id(target)] = copied(target) if isinstance(target, (BaseNode, NodeWithScore)) else target
    if node.embedding is not None:
        memo[id(node.embedding)] = list(node.embedding)
    return deepcopy(item, memo)


def node_of(document: Document) -> BaseNode:
    """The node a document was made of; `TextNode` for a document that was not made of one."""
    entry = document.metadata.get(NODE)
    if isinstance(entry, KeptNode):
        return entry.node
    if entry is None:
        return TextNode(id_=document.id, text=document.text, metadata=dict(document.metadata))
    try:
        return unpacked_node(entry)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, IndexFormatError):
            raise
        raise CorruptIndexError(
            f"node {document.id!r} cannot be restored ({error}); build the index again"
        ) from error


def packed_node(node: BaseNode) -> dict[str, Any]:
    """A node as JSON data.

    Raises:
        ConfigError: it would not come back as it is.
    """
    target = None
    if isinstance(node, IndexNode):
        node, target = node.model_copy(update={"obj": None}), node.obj
    try:
        dump = node.model_dump()
        fields = _through_json(dump) or _through_json(node.model_dump(mode="json"))
        for name, resource in vars(node).items():
            if isinstance(resource, MediaResource) and resource.data is not None:
                fields[name]["data"] = resource.data.decode("ascii")
        packed = {"type": class_name(type(node)), "fields": fields}
        faithful = repr(unpacked_node(packed).model_dump()) == repr(dump)
        if isinstance(target, BaseNode):
            packed["obj"] = packed_node(target)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"node {node.node_id!r} cannot be saved as JSON ({error})") from error
    if not faithful:
        raise ConfigError(
            f"node {node.node_id!r} cannot be saved: JSON would not give back its metadata or fields as "
            "they are; turn dates, tuples, sets and the like into str, numbers, lists or dicts first"
        )
    return packed


def _through_json(fields: dict[str, Any]) -> Any:
    """What JSON makes of the fields, None if it cannot hold them."""
    try:
        return json.loads(json.dumps(fields))
    except TypeError:
        return None


def unpacked_node(packed: Mapping[str, Any]) -> BaseNode:
    """The node that `packed_node` packed."""
    kind, fields = node_class(packed["type"]), packed["fields"]
    # Only declared fields: a constructor may do more with others, such as fetching an image.
    node = kind(**{name: fields[name] for name in kind.model_fields if name in fields})
    if isinstance(node, IndexNode) and packed.get("obj") is not None:
        node.obj = unpacked_node(packed["obj"])
    return node


def is_object(target: Any) -> bool:
    """Whether an index node stands for something that is not saved with it."""
    return target is not None and not isinstance(target, BaseNode)


def class_name(kind: type[BaseNode]) -> str:
    """How a saved index names a node class: bare for LlamaIndex's own, with its module for others."""
    own = not kind.__module__.startswith("llama_index.core.")
    return f"{kind.__module__}.{kind.__qualname__}" if own else kind.__qualname__


def node_class(name: str) -> type[BaseNode]:
    """The node class of that name among those that are loaded: nothing is imported on a file's word."""

    def below(kind: Any) -> Iterator[type[BaseNode]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    found = {class_name(kind): kind for kind in below(BaseNode)}.get(name)
    if found is None:
        raise IndexFormatError(
            f"the index holds nodes of the class {name}, which is not defined; import it first"
        )
    return found
