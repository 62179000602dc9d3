"""OpenAI-compatible embeddings, with lists of inputs and dynamic batching together."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from litserve import LitAPI
from litserve.specs import openai_embedding
from litserve.specs.openai_embedding import EmbeddingResponse, OpenAIEmbeddingSpec

from litcache.litapi.classes import policy_of

__all__ = ["EmbeddingRequest", "EmbeddingSpec"]


class EmbeddingRequest(openai_embedding.EmbeddingRequest):  # type: ignore[misc]  # it has no types
    """LitServe's `EmbeddingRequest`, but it counts inputs as the OpenAI API defines them.

    Example:
        >>> [EmbeddingRequest(model="m", input=given).get_num_items()
        ...  for given in ("a", ["a", "b"], [101, 7592, 102], [[101, 102], [103], [104]])]
        [1, 2, 1, 3]
    """

    def get_num_items(self) -> int:
        """Return the number of inputs; a list of token ids is one input.

        LitServe 0.2.17-0.2.19 counts the ids of one input, or the ids of the first of several.
        """
        many = isinstance(self.input, list) and not all(type(i) is int for i in self.input)
        return len(self.input) if many else 1


class EmbeddingSpec(OpenAIEmbeddingSpec):  # type: ignore[misc]  # it has no types
    """LitServe's `OpenAIEmbeddingSpec` for APIs whose `predict` is cached with `items="list"`.

    With `max_batch_size > 1`, LitServe's spec refuses lists of inputs (400), because a `predict` of
    texts cannot take a batch of lists. `items="list"` pools the inputs of all requests of a batch,
    so this spec accepts lists: the misses reach `predict` together, each of them once. For an API
    without `items="list"` it does what LitServe's spec does.

    It counts inputs of token ids right; LitServe answers 500 unless its own count happens to fit.
    It refuses (400) an empty list, an empty input of token ids, and more than `max_inputs` inputs,
    with a body that OpenAI's clients show; LitServe answers 500, and has no limit. All else is
    LitServe's: `encoding_format` (base64 since LitServe 0.2.19, floats before), usage, and
    the 422 for input of other types. The API must obey or refuse `dimensions` in `decode_request`.

    Args:
        max_inputs: The largest number of inputs in one request. OpenAI's own API allows 2,048.

    Raises:
        ValueError: If `max_inputs` is not a positive integer.

    Example:
        >>> import litserve as ls
        >>> from litcache import cached_predict
        >>> class EmbeddingAPI(ls.LitAPI):
        ...     @cached_predict(items="list", max_items=64)
        ...     def predict(self, texts):
        ...         return [[float(len(text))] for text in texts]
        >>> api = EmbeddingAPI(max_batch_size=32, batch_timeout=0.01, spec=EmbeddingSpec())
        >>> ls.LitServer(api, accelerator="cpu").lit_api.api_path
        '/v1/embeddings'
    """

    def __init__(self, *, max_inputs: int = 2048) -> None:
        super().__init__()
        if type(max_inputs) is not int or max_inputs < 1:
            raise ValueError(f"EmbeddingSpec: max_inputs={max_inputs!r} must be a positive integer")
        self.max_inputs = max_inputs

    def pre_setup(self, lit_api: LitAPI) -> None:
        """Prepare the endpoint, and find out whether `predict` takes lists in batches."""
        super().pre_setup(lit_api)
        policy = policy_of(type(lit_api), "predict")
        if policy is not None and policy.items == "list":
            # LitServe's endpoint refuses lists if this is above 1, and reads it for nothing else.
            self._max_batch_size = 1

    async def embeddings_endpoint(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Refuse a request with too few or too many inputs; answer others as LitServe does."""
        given = request.input
        if isinstance(given, list):
            if not given or any(isinstance(part, list) and not part for part in given):
                return _refused("input: must not be an empty list, nor hold one")
            count = request.get_num_items()
            if count > self.max_inputs:
                return _refused(f"input: {count} inputs, at most {self.max_inputs}")
        return await super().embeddings_endpoint(request)


def _refused(reason: str) -> JSONResponse:
    """Return a 400 with the `detail` of LitServe and the `error` that OpenAI's clients read."""
    error = {"message": reason, "type": "invalid_request_error", "param": "input", "code": None}
    return JSONResponse({"detail": reason, "error": error}, 400)
