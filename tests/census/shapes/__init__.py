"""The services of the zoo, by kind, as their authors wrote them: without a cache."""

from census.shapes import (
    chat,
    clip,
    detection,
    documents,
    embeddings,
    embeddings_passed,
    images,
    rerankers,
    sound,
    speech,
    stateful,
    tabular,
    translation,
)

__all__ = [
    "chat",
    "clip",
    "detection",
    "documents",
    "embeddings",
    "embeddings_passed",
    "images",
    "rerankers",
    "sound",
    "speech",
    "stateful",
    "tabular",
    "translation",
]
