"""Every shape of API: each a function of the decorator, so that twins differ in nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import litserve as ls
import numpy as np
import pytest

Decorator = Callable[..., Any]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text)) % 97), 0.5]


def texts_to_dicts(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @decorate
        def predict(self, texts):
            return [{"vector": vector(text), "text": text} for text in texts]

        def encode_response(self, output):
            output["seen"] = True  # what a caller changes in place must not reach the next one
            return output

    return API(max_batch_size=8)


def texts_to_array(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @decorate
        def predict(self, texts):
            return np.array([vector(text) for text in texts], np.float32)

        def encode_response(self, output):
            output += 1  # rows are writable
            return {"embedding": output.tolist(), "dtype": str(output.dtype)}

    return API(max_batch_size=8)


def stacked_arrays(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return np.array(vector(request["text"]), np.float64)

        @decorate
        def predict(self, x):
            assert x.ndim == 2
            return x.sum(axis=1)  # rows are numpy scalars

        def encode_response(self, output):
            assert type(output) is np.float64
            return float(output)

    return API(max_batch_size=8)


def stacked_tensors(decorate: Decorator) -> ls.LitAPI:
    torch = pytest.importorskip("torch")

    class API(ls.LitAPI):
        def setup(self, device):
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def decode_request(self, request):
            return torch.tensor(vector(request["text"]))

        @decorate
        @torch.inference_mode()
        def predict(self, x):
            return x * self.scale

        def encode_response(self, output):
            return {"embedding": output.tolist(), "shape": list(output.shape)}

    return API(max_batch_size=8)


def padded_dict_with_mask(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return [ord(letter) for letter in request["text"]]

        def batch(self, inputs):
            longest = max(map(len, inputs), default=0)
            ids = np.zeros((len(inputs), longest), np.int64)
            for row, tokens in zip(ids, inputs, strict=True):
                row[: len(tokens)] = tokens
            return {"ids": ids, "mask": np.ones((longest, longest)), "lengths": [*map(len, inputs)]}

        @decorate
        def predict(self, x):
            assert x["mask"].shape == (x["ids"].shape[1],) * 2
            return {"sum": x["ids"].sum(axis=1), "length": np.array(x["lengths"])}

        def unbatch(self, output):
            return [(int(s), int(n)) for s, n in zip(output["sum"], output["length"], strict=True)]

        def encode_response(self, output):
            assert type(output) is tuple
            return list(output)

    return API(max_batch_size=8)


def batch_calls_super(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return np.array(vector(request["text"]))

        def batch(self, inputs):
            return super().batch(inputs) * 2

        @decorate
        def predict(self, x):
            return x

        def unbatch(self, output):
            return super().unbatch(output)

        def encode_response(self, output):
            return output.tolist()

    return API(max_batch_size=8)


def undecorated_override(decorate: Decorator) -> ls.LitAPI:
    base = type(texts_to_dicts(decorate))

    class Override(base):
        def predict(self, texts):
            return [{**output, "more": 1} for output in super().predict(texts)]

    return Override(max_batch_size=8)


def decorated_over_decorated(decorate: Decorator) -> ls.LitAPI:
    base = type(texts_to_array(decorate))

    class Override(base):
        @decorate
        def predict(self, texts):
            return super().predict(texts) * 3

    return Override(max_batch_size=8)


def subclass_with_its_own_batch(decorate: Decorator) -> ls.LitAPI:
    base = type(texts_to_dicts(decorate))

    class Upper(base):
        def batch(self, inputs):
            return [text.upper() for text in inputs]

    return Upper(max_batch_size=8)


def mixin(decorate: Decorator) -> ls.LitAPI:
    class Predicts:
        @decorate
        def predict(self, texts):
            return [vector(text) for text in texts]

    class API(Predicts, ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

    return API(max_batch_size=8)


def diamond(decorate: Decorator) -> ls.LitAPI:
    class Predicts(ls.LitAPI):
        def decode_request(self, request):
            return request["text"]

        @decorate
        def predict(self, texts):
            return [vector(text) for text in texts]

    class Shouts(ls.LitAPI):
        def batch(self, inputs):
            return [f"{text}!" for text in super().batch(inputs)]

        def predict(self, x):
            raise NotImplementedError

    class API(Predicts, Shouts):
        pass

    return API(max_batch_size=8)


def hostile_init_subclass(decorate: Decorator) -> ls.LitAPI:
    class Base(ls.LitAPI):
        def __init_subclass__(cls, **kwargs):
            cls.marked = True  # and never calls super()

        def decode_request(self, request):
            return request["text"]

        @decorate
        def predict(self, texts):
            return [vector(text) for text in texts]

    class API(Base):
        def batch(self, inputs):
            return [text + str(self.marked) for text in inputs]

    return API(max_batch_size=8)


def packed_ragged(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return np.array([ord(letter) for letter in request["text"]])

        def batch(self, inputs):
            return np.concatenate(inputs), np.cumsum([len(x) for x in inputs])[:-1]

        @decorate
        def predict(self, x):
            values, offsets = x
            return values * 2, offsets

        def unbatch(self, output):
            return np.split(*output)

        def encode_response(self, output):
            return output.tolist()

    return API(max_batch_size=8)


def dicts_of_tensors(decorate: Decorator) -> ls.LitAPI:
    torch = pytest.importorskip("torch")

    class API(ls.LitAPI):
        def decode_request(self, request):
            return {"x": torch.tensor(vector(request["text"])), "name": request["text"]}

        @decorate
        def predict(self, inputs):
            return [{"y": each["x"] * 2, "name": each["name"]} for each in inputs]

        def encode_response(self, output):
            return {"y": output["y"].tolist(), "name": output["name"]}

    return API(max_batch_size=8)


def context_in_predict(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["language"] = request.get("language", "en")
            context["trail"] = []
            return request["text"]

        @decorate
        def predict(self, texts, context):
            for text, each in zip(texts, context, strict=True):
                each["tokens"] = len(text)
                each["trail"].append("predict")  # changed in place
                each.pop("scratch", None)
            return [f"{each['language']}:{t}" for t, each in zip(texts, context, strict=True)]

        def encode_response(self, output, context):
            return {"output": output, "context": dict(context)}

    return API(max_batch_size=8)


def need_context_in_batch() -> None:
    if tuple(map(int, ls.__version__.split(".")[:3])) < (0, 2, 18):
        pytest.skip("this LitServe gives batch and unbatch no context")


def context_in_all_three(decorate: Decorator) -> ls.LitAPI:
    need_context_in_batch()

    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["n"] = len(request["text"])
            return request["text"]

        def batch(self, inputs, context):
            for each in context:
                each["batched"] = True
            return [f"{text}{each['n']}" for text, each in zip(inputs, context, strict=True)]

        @decorate
        def predict(self, texts, context):
            return [t + str(each["batched"]) for t, each in zip(texts, context, strict=True)]

        def unbatch(self, output, context):
            for each in context:
                each["unbatched"] = each.pop("n")
            return output

        def encode_response(self, output, context):
            return [output, dict(context)]

    return API(max_batch_size=8)


def context_in_unbatch_only(decorate: Decorator) -> ls.LitAPI:
    need_context_in_batch()

    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["suffix"] = request.get("language", "en")
            return request["text"]

        @decorate
        def predict(self, texts):
            return texts

        def unbatch(self, output, context):
            return [f"{t}-{each['suffix']}" for t, each in zip(output, context, strict=True)]

    return API(max_batch_size=8)


def one_by_one(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request):
            return [request["text"], 1]  # a list is one item here

        @decorate
        def predict(self, x):
            return {"vector": np.array(vector(x[0])), "text": x[0]}

        def encode_response(self, output):
            output["vector"] = output["vector"].tolist()
            return output

    return API()


def one_by_one_with_context(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        def decode_request(self, request, context):
            context["language"] = request.get("language", "en")
            return request["text"]

        @decorate
        def predict(self, text, context):
            context["tokens"] = len(text)
            return text + context["language"]

        def encode_response(self, output, context):
            return [output, context["tokens"]]

    return API()


def decode_request_cached(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        @decorate
        def decode_request(self, request):
            return np.array(vector(request["text"]))

        def predict(self, x):
            return x.tolist()

    return API(max_batch_size=8)


def both_cached(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        @decorate
        def decode_request(self, request, context):
            context["decoded"] = True
            return np.array(vector(request["text"]))

        @decorate
        def predict(self, x):
            return x.tolist()

        def encode_response(self, output, context):
            return [output, context["decoded"]]

    return API(max_batch_size=8)


def asynchronous(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        async def decode_request(self, request, context):
            context["language"] = request.get("language", "en")
            return request["text"]

        @decorate
        async def predict(self, text, context):
            await asyncio.sleep(0)
            context["tokens"] = len(text)
            return {"text": text + context["language"]}

        async def encode_response(self, output, context):
            return {**output, "tokens": context["tokens"]}

    return API(enable_async=True)


def asynchronous_with_plain_hooks(decorate: Decorator) -> ls.LitAPI:
    class API(ls.LitAPI):
        @decorate
        def decode_request(self, request):
            return request["text"]

        @decorate
        async def predict(self, text):
            await asyncio.sleep(0)
            return vector(text)

        def encode_response(self, output):
            return output

    return API(enable_async=True)


BATCHED = [
    texts_to_dicts,
    texts_to_array,
    stacked_arrays,
    stacked_tensors,
    padded_dict_with_mask,
    batch_calls_super,
    decorated_over_decorated,
    subclass_with_its_own_batch,
    mixin,
    diamond,
    hostile_init_subclass,
    packed_ragged,
    dicts_of_tensors,
    context_in_predict,
    context_in_all_three,
    context_in_unbatch_only,
    both_cached,
]
OTHERS = [
    undecorated_override,
    one_by_one,
    one_by_one_with_context,
    decode_request_cached,
    asynchronous,
    asynchronous_with_plain_hooks,
]
