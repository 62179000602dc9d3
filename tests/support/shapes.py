"""Small classes of the kinds of public LitServe services, with what a look at them must find."""

import asyncio
import base64
import datetime
import gc
import io
import json
import logging
import os
import queue
import random as dice
import tempfile
import threading
import time
import time as clock
import uuid
from collections import OrderedDict, deque
from contextvars import ContextVar
from time import perf_counter as now
from uuid import uuid4

import httpx
import litserve as ls
import numpy as np
from fastapi import HTTPException
from starlette.responses import FileResponse

from litcache import cached_predict

logger = logging.getLogger(__name__)
SHAPES = {}
LANGUAGE = "en"
RESULTS = {}
LABELS = {0: "cat"}
LOCAL = threading.local()
USAGE = ContextVar("usage", default=0)
QUEUE = queue.Queue()


def load(*names):
    """Stand for what loads a model."""
    return names


class Image:
    """Stands for `PIL.Image`."""

    @staticmethod
    def open(file):
        return file


def finds(*attributes):
    """Say what the look must find in a class: all of it is true."""

    def note(cls):
        SHAPES[cls] = attributes
        return cls

    return note


quiet = finds()


# ---------------------------------------------------------------------- state on self


@finds("self.language")
class OptionOnSelf(ls.LitAPI):
    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model.translate(text, self.language)


@finds("self.voice")
class OptionSetByHelper(ls.LitAPI):
    def decode_request(self, request):
        self._options(request)
        return request["text"]

    def _options(self, request):
        for name in ("voice",):
            self.voice = request.get(name, "anna")

    @cached_predict
    def predict(self, text):
        return self._speak(text)

    def _speak(self, text):
        return self.model(text, voice=self.voice)


@finds("self.boxes")
class ResultOnSelf(ls.LitAPI):
    @cached_predict
    def predict(self, image):
        scores, self.boxes = self.model(image)
        return scores

    def encode_response(self, scores):
        return {"scores": scores, "boxes": self.boxes}


@finds("self.options")
class OptionsInADict(ls.LitAPI):
    def setup(self, device):
        self.options = {}

    def decode_request(self, request):
        self.options.update(request["options"])
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text, **self.options)


@finds("self.options[…]")
class OptionsByItem(ls.LitAPI):
    def setup(self, device):
        self.options = {"top_k": 5}

    def decode_request(self, request):
        self.options["top_k"] = request["top_k"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text, top_k=self.options["top_k"])


@finds("self.size")
class SetByName(ls.LitAPI):
    def decode_request(self, request):
        setattr(self, "size", request["size"])  # noqa: B010
        return request["image"]

    @cached_predict
    def predict(self, image):
        return self.model(image, getattr(self, "size", 224))


@finds("self.tokenizer.src_lang")
class OptionOnAPart(ls.LitAPI):
    def decode_request(self, request):
        tokenizer = self.tokenizer
        tokenizer.src_lang = request["lang"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model.generate(**self.tokenizer(text))


@finds("self.history")
class Conversation(ls.LitAPI):
    def setup(self, device):
        self.history = []

    @cached_predict
    def predict(self, text):
        self.history.append(text)
        answer = self.model(self.history)
        self.history.append(answer)
        return answer


@finds("self.sessions[…]")
class Sessions(ls.LitAPI):
    def setup(self, device):
        self.sessions = {}

    @cached_predict
    def predict(self, item):
        messages = self.sessions.setdefault(item["session"], [])
        messages.append(item["text"])
        return self.model(messages)


@finds("self.hidden")
class Recurrent(ls.LitAPI):
    def setup(self, device):
        self.hidden = None

    @cached_predict
    def predict(self, x):
        y, self.hidden = self.model(x, self.hidden)
        return y


@finds("self.count")
class CountedInTheOutput(ls.LitAPI):
    def setup(self, device):
        self.count = 0

    @cached_predict
    def predict(self, x):
        self.count += 1
        return {"y": self.model(x), "number": self.count}


@finds("self.tracker")
class Tracker(ls.LitAPI):
    @cached_predict
    def predict(self, frame):
        boxes = self.model(frame)
        return self.tracker.update(boxes)


@finds("self.file")
class OpenedFile(ls.LitAPI):
    def decode_request(self, request):
        with open(os.devnull) as self.file:
            return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text, self.file)


@finds("self.pending")
class WalrusAndTuple(ls.LitAPI):
    def decode_request(self, request):
        (text, self.pending), _ = (request["text"], request["k"]), None
        return text

    @cached_predict
    def predict(self, text):
        if (k := self.pending) > 3:
            return self.model(text)
        return k


@finds("LANGUAGE")
class OptionInAGlobal(ls.LitAPI):
    def decode_request(self, request):
        global LANGUAGE
        LANGUAGE = request["language"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text, LANGUAGE)


@finds("RESULTS[…]")
class ResultInAGlobal(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        RESULTS["last"] = self.model(text)
        return "done"

    def encode_response(self, output):
        return RESULTS["last"]


@finds("self.thresholds")
class CachedDecode(ls.LitAPI):
    @cached_predict
    def decode_request(self, request):
        self.thresholds = request["thresholds"]
        return request["image"]

    def predict(self, image):
        return self.model(image, self.thresholds)


@finds("self.style")
class CachedHelper(ls.LitAPI):
    def predict(self, item):
        self.style = item["style"]
        return self.encode_text(item["text"])

    @cached_predict
    def encode_text(self, text):
        return self.model(text, self.style)


class _Base(ls.LitAPI):
    def decode_request(self, request):
        self.user = request["user"]
        return request["text"]


@finds("self.user")
class Inherited(_Base):
    def decode_request(self, request):
        return super().decode_request(request).strip()

    @cached_predict
    def predict(self, text):
        return self.model(text, self.user)


@finds("LOCAL.tokens")
class LeftInAThreadLocal(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        LOCAL.tokens = len(text)
        return self.model(text)

    def encode_response(self, output):
        return {"output": output, "usage": getattr(LOCAL, "tokens", None)}


@finds("LOCAL.language")
class OptionInAThreadLocal(ls.LitAPI):
    def decode_request(self, request):
        setattr(LOCAL, "language", request["language"])  # noqa: B010
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text, LOCAL.language)


@finds("USAGE")
class LeftInAContextVar(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        USAGE.set(len(text))
        return self.model(text)

    def encode_response(self, output):
        return {"output": output, "usage": USAGE.get()}


@finds("QUEUE")
class LeftInAQueue(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        QUEUE.put(len(text))
        return self.model(text)

    def encode_response(self, output):
        return {"output": output, "usage": QUEUE.get()}


@finds("self.waiting")
class LeftInAQueueOnSelf(ls.LitAPI):
    def setup(self, device):
        self.waiting = deque()

    @cached_predict
    def predict(self, text):
        self.waiting.append(len(text))
        return self.model(text)

    def encode_response(self, output):
        return {"output": output, "usage": self.waiting.popleft()}


@finds("self.engine.last")
class LeftOnAPart(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        self.engine.last = len(text)
        return self.engine(text)

    def encode_response(self, output):
        return {"output": output, "usage": self.engine.last}


@finds("self.tokens")
class LeftByHelper(ls.LitAPI):
    @cached_predict
    def embed(self, text):
        self.tokens = len(text)
        return self.model(text)

    def predict(self, text):
        return {"vector": self.embed(text), "usage": self.tokens}


@finds("self.user")
class RefusedUser(ls.LitAPI):
    def decode_request(self, request):
        self.user = request["user"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        if self.user in ("nobody", "guest"):
            raise HTTPException(403, "no")
        return self.model(text)


# ---------------------------------------------------------------------- setup again


@finds("self.setup")
class SetupAgain(ls.LitAPI):
    def setup(self, device, name="small"):
        self.model = load(name)

    def decode_request(self, request):
        if request["model"] != "small":
            self.setup("cpu", request["model"])
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text)


@finds("self.model")
class ModelByRequest(ls.LitAPI):
    def decode_request(self, request):
        self.model = load(request["model"])
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text)


# ---------------------------------------------------------------------- clocks, ids, chance


@finds("now")
class Elapsed(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        start = now()
        output = self.model(text)
        return {"output": output, "seconds": round(now() - start, 3)}


@finds("clock.time")
class Created(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        result = {"text": self.model(text)}
        result["created"] = int(clock.time())
        return result


@finds("datetime.datetime.now")
class Greeting(ls.LitAPI):
    @cached_predict
    def predict(self, name):
        if self._hour() < 12:
            return f"good morning {name}"
        return f"good evening {name}"

    def _hour(self):
        import datetime

        return datetime.datetime.now().hour


@finds("uuid4")
class Id(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return {"id": str(uuid4()), "text": self.model(text)}


@finds("uuid.uuid4")
class IdInTheContext(ls.LitAPI):
    @cached_predict
    def predict(self, text, context):
        context["id"] = uuid.uuid4().hex
        return self.model(text)


@finds("dice.choice")
class Chance(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return dice.choice(self.answers[text])


@finds("np.random.randn")
class Noise(ls.LitAPI):
    @cached_predict
    def predict(self, prompt):
        noise = np.random.randn(4, 64, 64)
        image = self.pipe(prompt, latents=noise)
        return np.asarray(image)


@finds("temperature=0.7")
class Sampling(ls.LitAPI):
    @cached_predict
    def predict(self, messages):
        return self.llm.chat(messages, temperature=0.7, max_tokens=100)


@finds("do_sample=True")
class SamplingByOptions(ls.LitAPI):
    def setup(self, device):
        self.options = {"do_sample": True, "max_new_tokens": 64}

    @cached_predict
    def predict(self, text):
        return self.model.generate(text, **self.options)


@finds("no generator= for the noise")
class Diffusion(ls.LitAPI):
    @cached_predict
    def predict(self, prompt):
        return self.pipe(prompt, num_inference_steps=20).images[0]


# ---------------------------------------------------------------------- files, neighbours


@finds("self.model.transcribe")
class AudioByPath(ls.LitAPI):
    def decode_request(self, request):
        return request["audio_path"]

    @cached_predict
    def predict(self, audio_path):
        return self.model.transcribe(audio_path)["text"]


@finds("Image.open")
class ImageByPath(ls.LitAPI):
    def decode_request(self, request):
        return request["image"]

    @cached_predict
    def predict(self, image):
        return self.model(Image.open(image))


@finds("httpx.get")
class ImageByUrl(ls.LitAPI):
    @cached_predict
    def decode_request(self, request):
        return self._download(request["image"])

    def _download(self, address):
        return Image.open(io.BytesIO(httpx.get(address, timeout=9).content))


@finds("f'/tmp/{uuid.uuid4()}.png'")
class OutputInAFile(ls.LitAPI):
    @cached_predict
    def predict(self, prompt):
        path = f"/tmp/{uuid.uuid4()}.png"
        self.pipe(prompt).save(path)
        return path


@finds("FileResponse")
class AnswersWithAFile(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return self.tts(text)

    def encode_response(self, output):
        return FileResponse(output)


@finds("inputs[0]['top_k']")
class OptionsOfTheFirst(ls.LitAPI):
    def batch(self, inputs):
        return [i["text"] for i in inputs], inputs[0]["top_k"]

    @cached_predict
    def predict(self, batch):
        return self.model(*batch)


# ---------------------------------------------------------------------- nothing to find


@quiet
class Plain(ls.LitAPI):
    def setup(self, device):
        self.model = load("model")
        self.lock = threading.Lock()
        self.labels = ["a", "b"]

    def decode_request(self, request):
        return request["text"]

    @cached_predict
    def predict(self, text):
        with self.lock:
            return self.model(text)

    def encode_response(self, output):
        return {"label": self.labels[output], "kind": LABELS[0], "at": time.time()}


@quiet
class Timed(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        start = time.time()
        output = self.model(text)
        logger.info("took %.3f s", time.time() - start)
        if time.time() - start > 1:
            print("slow")
        self.log("seconds", time.time() - start)
        return output


@quiet
class Counters(ls.LitAPI):
    def setup(self, device):
        self.count = 0
        self.times = deque(maxlen=100)

    def decode_request(self, request):
        self.count += 1
        return request["text"]

    @cached_predict
    def predict(self, text):
        self.times.append(time.time())
        if self.count % 100 == 0:
            gc.collect()
        if len(self.times) > 50:
            self.times.popleft()
        print(f"{self.count} requests, {np.mean(self.times)}")
        return self.model(text)


@quiet
class LazyModel(ls.LitAPI):
    model = None

    def _load(self):
        if self.model is not None:
            return
        self.model = load("model")
        self.tokenizer = load("tokenizer")

    @cached_predict
    def predict(self, text):
        self._load()
        if not hasattr(self, "labels"):
            self.labels = load("labels")
        return self.labels[self.model(self.tokenizer(text))]

    def encode_response(self, output):
        return {"output": output, "name": self.model.name}


@quiet
class Memo(ls.LitAPI):
    def setup(self, device):
        self.memo = OrderedDict()

    def decode_request(self, request):
        return request["text"]

    @cached_predict
    def predict(self, text):
        if text in self.memo:
            self.memo.move_to_end(text)
            return self.memo[text]
        output = self.model(text)
        self.memo[text] = output
        if len(self.memo) > 100:
            self.memo.popitem(last=False)
        return output


@quiet
class MemoOfABatch(ls.LitAPI):
    def setup(self, device):
        self.known = {}

    @cached_predict
    def predict(self, texts):
        new = [text for text in texts if text not in self.known]
        self.known.update(zip(new, self.model(new), strict=True))
        return [self.known[text] for text in texts]


@quiet
class NamesOfUploads(ls.LitAPI):
    def decode_request(self, request):
        return {"filename": request["filename"], "data": request["file"].file.read()}

    @cached_predict
    def predict(self, item):
        name, suffix = os.path.splitext(item["filename"])
        if item["filename"].endswith(".pdf"):
            suffix = "pdf"
        logger.info("read %s", item["filename"])
        text = self.model.read(io.BytesIO(item["data"]), suffix)
        return {"name": name, "text": text, "beams": self.model.generate(num_beams=4)}


@quiet
class TemporaryFolder(ls.LitAPI):
    @cached_predict
    def predict(self, prompt):
        time.sleep(dice.random())
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "image.png")
            self.pipe(prompt).save(path)
            with open(path, "rb") as file:
                return {"filename": "image.png", "image": file.read()}


@quiet
class RequestIds(ls.LitAPI):
    def decode_request(self, request):
        self.id = str(uuid.uuid4())
        self.started = time.time()
        return request["text"]

    @cached_predict
    def predict(self, text):
        self.parts, self.sizes = [], []
        self._add(text)
        logger.info(f"{self.id}: {time.time() - self.started:.3f} s")
        return self.model(self.parts)

    def _add(self, text):
        self.parts.append(text)

    def encode_response(self, output):
        return {"id": self.id, "output": output}


@quiet
class Voices(ls.LitAPI):
    def setup(self, device):
        self.voices = {}

    @cached_predict
    def predict(self, item):
        voice = self.voices.get(item["voice"])
        if voice is None:
            voice = load(item["voice"])
            self.voices[item["voice"]] = voice
        return voice(item["text"])


@quiet
class Scratch(ls.LitAPI):
    def setup(self, device):
        self.buffer = np.zeros((8, 4))

    @cached_predict
    def predict(self, x):
        self.inputs = self.prepare(x)
        self.buffer[: len(self.inputs)] = self.inputs
        self.outputs = self.model(self.inputs, self.buffer)
        return self.finish()

    def prepare(self, x):
        return x * 2

    def finish(self):
        return self.outputs + self.inputs


@quiet
class BufferOverwritten(ls.LitAPI):
    def setup(self, device):
        self.buffer = np.zeros(64)

    @cached_predict
    def predict(self, x):
        if len(x) > self.buffer.shape[0]:
            return None
        self.buffer.fill(0)
        self.buffer[: len(x)] = x
        return self.buffer[: len(x)]


@quiet
class TasksKept(ls.LitAPI):
    def setup(self, device):
        self.tasks = set()

    @cached_predict
    async def predict(self, text):
        task = asyncio.create_task(self._note(text))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return await self.model(text)

    async def _note(self, text):
        self.noted = text


@quiet
class CountedOnAPart(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        return self.engine(text)

    def encode_response(self, output):
        self.engine.served += 1
        self.engine.times.append(time.time())
        return output


@quiet
class ModelOfTheItem(ls.LitAPI):
    @cached_predict
    def predict(self, item):
        if item["language"] != self.language:
            self.model = load(item["language"])
            self.language = item["language"]
        self.tokenizer.src_lang = item["language"]
        return self.model(self.tokenizer(item["text"]))


@quiet
class Uploaded(ls.LitAPI):
    def decode_request(self, request):
        return Image.open(io.BytesIO(base64.b64decode(request["image"])))

    @cached_predict
    def predict(self, image):
        return self.model(Image.open(image))


@quiet
class TemporaryFile(ls.LitAPI):
    def decode_request(self, request):
        return request["audio"].file.read()

    @cached_predict
    def predict(self, audio):
        path = f"/tmp/{uuid.uuid4()}.wav"
        with open(path, "wb") as file:
            file.write(audio)
        with tempfile.NamedTemporaryFile(suffix=".wav") as other:
            other.write(audio)
            more = self.model.transcribe(other.name)
        text = self.model.transcribe(path)
        os.remove(path)
        return {"text": text, "more": more}


@quiet
class Seeded(ls.LitAPI):
    @cached_predict
    def predict(self, prompt):
        rng = np.random.default_rng(42)
        noise = rng.normal(size=4)
        np.random.seed(0)
        return self.pipe(prompt, latents=noise + np.random.rand(4), num_inference_steps=4)


@quiet
class Greedy(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        options = {"do_sample": False, "temperature": 1.0, "max_new_tokens": 5}
        return self.model.generate(text, temperature=0.0, **options)


@quiet
class Weather(ls.LitAPI):
    def decode_request(self, request):
        return request["when"]

    @cached_predict
    def predict(self, when):
        day = datetime.datetime.fromtimestamp(when).isoformat()
        return json.dumps({"day": day, "temperature": 21.5})


@quiet
class StatisticsOfEncode(ls.LitAPI):
    def setup(self, device):
        self.answered = 0

    def decode_request(self, request):
        self.format = request["format"]
        return request["text"]

    @cached_predict
    def predict(self, text):
        return self.model(text)

    def encode_response(self, output):
        self.answered += 1
        return {"output": output, "answered": self.answered, "format": self.format}


@quiet
class Moved(ls.LitAPI):
    @cached_predict
    def predict(self, text):
        self.model = self.model.to("cuda")
        self.model.eval()
        return self.model(text)


@quiet
class BatchOfArrays(ls.LitAPI):
    def batch(self, inputs):
        shape = inputs[0]["pixels"].shape
        return np.zeros((len(inputs), *shape))

    @cached_predict
    def predict(self, batch):
        return self.model(batch)

    def unbatch(self, output):
        return list(output)


@quiet
class Uncached(ls.LitAPI):
    def decode_request(self, request):
        self.language = request["language"]
        return request["text"]

    def predict(self, text):
        return self.model(text, self.language)
