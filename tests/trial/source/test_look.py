"""The look at a class's source: what it finds is true, and it never does harm."""

import linecache
import os
import sys
import textwrap
import time

import litserve as ls
import pytest
from support.shapes import SHAPES

from litcache import CachePolicy, cached_predict
from litcache.litapi.classes import cached_methods
from litcache.trial.source.look import Finding, causes, look


def found(cls):
    return look(cls, cached_methods(cls))


@pytest.mark.parametrize("cls", SHAPES, ids=lambda cls: cls.__name__)
def test_what_passes_the_cache_of_a_kind_of_service_is_found_and_nothing_else(cls):
    assert sorted(finding.attribute for finding in found(cls)) == sorted(SHAPES[cls])


def test_at_least_nine_of_ten_findings_over_all_kinds_are_true():
    findings = [(cls, finding) for cls in SHAPES for finding in found(cls)]
    true = [finding for cls, finding in findings if finding.attribute in SHAPES[cls]]
    assert len(SHAPES) >= 50
    assert len(true) >= 0.9 * len(findings)
    assert len(true) >= 0.9 * sum(map(len, SHAPES.values()))


def test_a_finding_names_file_line_and_remedy():
    (cls,) = (cls for cls in SHAPES if cls.__name__ == "OptionOnSelf")
    (finding,) = found(cls)
    line = linecache.getline(finding.file, finding.line)
    assert line.strip() == 'self.language = request["language"]'
    assert finding.cause == "state"
    assert str(finding).startswith(f"{finding.file}:{finding.line}: self.language: decode_request ")
    assert str(finding).endswith("make it part of the item")


LEFT = {
    "ResultOnSelf": "predict", "ResultInAGlobal": "predict", "CachedDecode": "decode_request",
    "LeftInAThreadLocal": "predict", "LeftInAContextVar": "predict", "LeftInAQueue": "predict",
    "LeftInAQueueOnSelf": "predict", "LeftOnAPart": "predict", "LeftByHelper": "embed",
}  # fmt: skip


def test_what_a_method_leaves_for_a_later_hook_is_told_from_what_comes_to_it():
    left = {cls.__name__: f.method for cls in SHAPES for f in found(cls) if f.leaves}
    assert left == LEFT


def test_what_comes_to_a_method_and_is_left_by_it_is_found_in_both_ways(tmp_path):
    source = """
        class API(ls.LitAPI):
            def decode_request(self, request):
                self.usage = request["usage"]
                return request["text"]
            @cached_predict
            def predict(self, text):
                self.usage += len(text)
                return self.usage
            def encode_response(self, output):
                return output, self.usage
    """
    findings = found(from_file(tmp_path / "server.py", source))
    assert [(f.attribute, f.leaves) for f in findings] == [
        ("self.usage", False),
        ("self.usage", True),
    ]


@pytest.mark.parametrize("between", ["", "self.usage = 0"])
def test_what_a_hook_sets_before_it_calls_a_helper_is_not_what_the_helper_leaves(tmp_path, between):
    source = f"""
        class API(ls.LitAPI):
            def predict(self, text):
                self.usage = 0
                vector = self.embed(text)
                {between}
                return vector, self.usage
            @cached_predict
            def embed(self, text):
                self.usage = len(text)
                return text
    """
    findings = found(from_file(tmp_path / "server.py", source))
    assert [(f.attribute, f.leaves) for f in findings] == [("self.usage", True)] * (not between)


def test_a_helper_is_named_beside_the_hook_that_calls_it():
    (cls,) = (cls for cls in SHAPES if cls.__name__ == "OptionSetByHelper")
    (finding,) = found(cls)
    assert "decode_request (in _options) sets it and predict (in _speak) reads it" in str(finding)


def test_the_file_is_shown_as_seen_from_the_folder_of_the_process(monkeypatch):
    (cls,) = (cls for cls in SHAPES if cls.__name__ == "OptionOnSelf")
    path = sys.modules[cls.__module__].__file__
    monkeypatch.chdir(os.path.dirname(path))
    assert found(cls)[0].file == "shapes.py"


def test_a_key_of_the_users_own_answers_for_files():
    (cls,) = (cls for cls in SHAPES if cls.__name__ == "AudioByPath")
    assert len(look(cls, {"predict": CachePolicy()})) == 1
    assert look(cls, {"predict": CachePolicy(key=len)}) == []


# ---------------------------------------------------------------------- it never raises


def executed(source):
    space = {"__name__": "server", "ls": ls, "cached_predict": cached_predict}
    exec(textwrap.dedent(source), space)
    return space["API"]


def from_file(path, source, encoding="utf-8"):
    path.write_bytes(textwrap.dedent(source).encode(encoding))
    space = {"__name__": "server", "ls": ls, "cached_predict": cached_predict}
    exec(compile(path.read_bytes(), str(path), "exec"), space)
    return space["API"]


SOURCE = """
    class API(ls.LitAPI):
        def decode_request(self, request):
            self.language = request["language"]
            return request
        @cached_predict
        def predict(self, x):
            return x, self.language
"""


def test_a_class_without_source_has_no_findings():
    assert found(executed(SOURCE)) == []


def test_a_class_in_a_file_of_another_encoding_is_read(tmp_path):
    source = "# coding: latin-1\n# é\n" + textwrap.dedent(SOURCE)
    (finding,) = found(from_file(tmp_path / "server.py", source, "latin-1"))
    assert (finding.attribute, finding.line) == ("self.language", 6)


@pytest.mark.parametrize(
    "text",
    ["", "\n" * 3, "x = (\n" * 20, "\0", "\x80", "class API:\n    pass\n", "    def f(:\n" * 99],
)
def test_a_file_that_has_changed_since_it_was_loaded_has_no_findings(tmp_path, text):
    cls = from_file(tmp_path / "server.py", SOURCE)
    (tmp_path / "server.py").write_text(text, "latin-1")
    linecache.clearcache()
    assert found(cls) == []


class Odd(type):
    def mro(cls):
        return [*super().mro(), dict] if cls.__name__ == "More" else super().mro()

    @property
    def __mro__(cls):
        raise RuntimeError

    @property
    def __module__(cls):
        raise RuntimeError


class _Descriptor:
    def __get__(self, instance, owner):
        raise RuntimeError

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_odd_classes_have_no_findings_and_do_not_raise():
    class Attributes:
        predict = _Descriptor()
        decode_request = 3
        batch = len
        encode_response = staticmethod(lambda output: output)
        unbatch = property(lambda self: None)

    odd = [int, object, type, Odd("Plain", (), {}), Odd("Metaclass", (Attributes,), {})]
    names = ["predict", "decode_request", "batch", "encode_response", "unbatch", "__init__", ""]
    for cls in [*odd, Attributes, type("Made", (ls.LitAPI,), {"predict": lambda self, x: x})]:
        assert look(cls, names) == []
    for other in (None, 3, "text", [], len):
        assert look(other, names) == []


def test_methods_that_call_each_other_and_decorators_are_followed_to_an_end(tmp_path):
    source = """
        import functools
        def twice(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper
        def bare(function):
            def wrapper(*args):
                return function(*args)
            return wrapper
        class API(ls.LitAPI):
            @twice
            @bare
            def decode_request(
                self,
                request,
            ):
                text = '''
        a text at the left edge
        def predict(self): it is no method
        '''
                self.language = request["language"]
                return self.one(request), text
            def one(self, x):
                return self.other(x)
            def other(self, x):
                return self.one(x)
            @cached_predict
            @twice
            def predict(self, x):
                def inner(): return self.language
                class Inner:
                    def method(me): me.x = 1
                return self.other(x), inner(), (lambda: self.language)(), Inner
    """
    (finding,) = found(from_file(tmp_path / "server.py", source))
    assert (finding.attribute, finding.line) == ("self.language", 23)


def test_async_methods_and_streams_are_looked_at(tmp_path):
    source = """
        import time
        class API(ls.LitAPI):
            async def decode_request(self, request):
                async with self.lock:
                    self.voice = request["voice"]
                return request["text"]
            async def predict(self, text):
                async for chunk in self.model(text, self.voice):
                    yield {"chunk": chunk, "at": time.time()}
    """
    cls = from_file(tmp_path / "server.py", source)
    assert [f.attribute for f in look(cls, ["predict"])] == ["self.voice", "time.time"]


def test_a_class_of_many_lines_takes_no_longer_than_a_start_may_wait(tmp_path):
    lines = ["class API(ls.LitAPI):"]
    lines += ["    def decode_request(self, request):", "        return self.g0(request)"]
    lines += ["    @cached_predict", "    def predict(self, x):"]
    lines += [f"        x = self.f{n}(x, [{n}, x], key=x[{n}])" for n in range(900)]
    lines += ["        return x"]
    for n in range(3000):
        lines += [f"    def g{n}(self, x):", f"        self.a{n} = x"]
        lines += [f"        return self.g{n + 1}(x)"]
    source = "\n".join(lines)
    cls = from_file(tmp_path / "server.py", source)
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        found(cls)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.05


# ---------------------------------------------------------------------- causes


def test_the_causes_of_a_disagreement_begin_with_what_the_source_shows():
    finding = Finding("server.py", 7, "time.time", "time.time() is in the output", "clock")
    lines = causes([finding])
    assert lines[0] == "server.py:7: time.time() is in the output"
    assert lines[1].startswith("an attribute of self ")
    assert not any(line.startswith("a clock") for line in lines)
    assert len(lines) == len(set(lines)) == len(causes([])) == 8
