"""Which values are arrays and tensors, and how their elements are read."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from support.values import arrays as any_array
from support.values import tensors as any_tensor

from litcache.arrays import (
    array_bytes,
    array_elements,
    has_rows,
    is_array,
    is_scalar,
    is_tensor,
    tensor_elements,
    tensor_fault,
)

some = settings(max_examples=60, deadline=None)


def test_only_exact_types_are_arrays_tensors_and_scalars():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    array, tensor, scalar = np.zeros(2), torch.zeros(2), np.float64(1)
    subclass = type("Sub", (torch.Tensor,), {})
    others = [
        np.ma.array([1]), np.zeros(1, [("a", "u1")]).view(np.recarray), np.dtype("f4"), [0.0], 1.0,
        torch.nn.Parameter(torch.zeros(2)), torch.zeros(2).as_subclass(subclass),
        type("F", (np.float64,), {})(1), "a", b"a", None,
    ]  # fmt: skip
    values = [array, tensor, scalar, np.str_("a"), np.bytes_(b"a"), *others]
    asked = [(is_array(v), is_tensor(v), is_scalar(v)) for v in values]
    assert asked[0] == (True, False, False)
    assert asked[1] == (False, True, False)
    assert asked[2:5] == [(False, False, True)] * 3
    assert set(asked[5:]) == {(False, False, False)}


def test_a_first_axis_has_rows():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for value in (np.zeros(2), np.zeros((0, 3)), torch.zeros(2), torch.zeros(0, 3)):
        assert has_rows(value)
    for value in (np.array(1), torch.tensor(1), torch.eye(2).to_sparse(), np.float32(1), [1], "a"):
        assert not has_rows(value)


@some
@given(any_array())
def test_elements_of_an_array_are_read_in_c_order(array):
    assert b"".join(map(bytes, array_elements(array))) == b"".join(
        bytes(part) for part in array_elements(array.copy("C"))
    )
    assert array_bytes(array) == array_bytes(array.copy("F"))
    assert len(array_bytes(array)) == array.nbytes
    if array.dtype.names is None and array.dtype.char not in "gG":
        assert array_bytes(array) == array.tobytes()


@some
@given(any_tensor())
def test_elements_of_a_tensor_are_read_in_c_order(tensor):
    torch = pytest.importorskip("torch")
    dense = tensor.detach().resolve_conj().clone(memory_format=torch.contiguous_format)
    expected = bytes(dense.view(-1).view(torch.uint8).numpy()) if dense.numel() else b""
    assert tensor_fault(tensor) is None
    assert bytes(tensor_elements(tensor)) == expected


def test_questions_import_neither_numpy_nor_torch():
    script = """
        import sys
        from litcache import arrays
        loaded = {"numpy", "torch"} & set(sys.modules)
        assert not arrays.is_array([0.0]) and not arrays.is_tensor([0.0])
        assert not arrays.is_scalar(1.0) and not arrays.has_rows([0.0])
        assert {"numpy", "torch"} & set(sys.modules) == loaded
        sys.modules["numpy"] = sys.modules["torch"] = None
        assert not arrays.is_array(None) and not arrays.is_tensor(None)
        assert not arrays.is_scalar(None)
    """
    code = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
