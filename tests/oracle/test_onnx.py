"""Rounding and ranges against ONNX Runtime, to the last bit but where it says why not. Needs OCTET_BIN_DIR.

QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear run as ONNX models of one node. The calibrators of
onnxruntime.quantization (percentile, entropy) are asked for the ranges of the arrays that octet's observers see.
"""

import gguf
import make_tiny
import numpy as np
import octet
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization.calibrate import HistogramCollector
from observed import KINDS, array, only_ties_differ, outliers, positive, silu
from stored import Stored
from test_observer import observe

F = np.float32
TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def node(op, inputs, n_outputs=1, **attributes):
    """The outputs of one operator."""
    names = [f"in{i}" for i in range(len(inputs))]
    outs = [f"out{i}" for i in range(n_outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, outs, **attributes)],
        "one",
        [helper.make_tensor_value_info(n, TYPES[str(x.dtype)], x.shape) for n, x in zip(names, inputs)],
        [helper.make_empty_tensor_value_info(n) for n in outs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs)))


def activations(kind, x, group):
    out = octet.run("octet_rounding", kind, group, input=x.tobytes())
    n = len(x) // group
    return np.frombuffer(out, "<f4", n), np.frombuffer(out, "<i4", n, 4 * n), np.frombuffer(out, "i1", len(x), 8 * n)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("group", [64, 96, 38400])
def test_symmetric_activations(kind, group):
    x = array(kind, 11, 38400)
    scale, _, q = activations("activations", x, group)
    assert np.array_equal(scale, np.abs(x.reshape(-1, group)).max(axis=1) / F(127))
    rows = x.reshape(-1, group)
    (want,) = node("QuantizeLinear", [rows, scale, np.zeros(len(scale), np.int8)], axis=0)
    only_ties_differ(x, np.repeat(scale, group), q, want.ravel())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_affine_activations(kind):
    """One token's row: DynamicQuantizeLinear in u8, octet in s8, 128 less."""
    for row in array(kind, 12, 38400).reshape(20, -1):
        scale, zero, q = activations("affine", row, len(row))
        want, want_scale, want_zero = node("DynamicQuantizeLinear", [row], 3)
        assert scale[0] == want_scale and 128 - zero[0] == want_zero
        only_ties_differ(row, np.repeat(scale, len(row)), q.astype(int) + 128, want.astype(int))


@pytest.mark.parametrize("scheme", ["int8-h0-g64-f32", "int8-h0-g64", "int8-h0-row-f32", "int8-h0-g64-affine", "fast-h0-affine-f32"])
def test_weights(scheme, tmp_path):
    """What `octet quantize` writes, and what it reads from that: to the last bit."""
    source, out = str(tmp_path / "in.gguf"), str(tmp_path / "out.gguf")
    make_tiny.make("qwen2-untied", source)
    octet.run("octet", "quantize", source, out, "--scheme", scheme)
    file, floats = Stored(out), {t.name: t for t in gguf.GGUFReader(source).tensors}
    for name in ("blk.0.attn_q", "blk.1.ffn_down", "output"):
        spec, w = file.specs[name], np.asarray(floats[f"{name}.weight"].data)
        q, scale = file.rows(f"{name}.octet_q"), file.rows(f"{name}.octet_scale").astype(F)
        zero = file.rows(f"{name}.octet_zero") if spec["zero"] else np.zeros(scale.shape, np.int8)
        blocks = {"axis": 1, "block_size": spec["group"]}
        (want,) = node("QuantizeLinear", [w, scale, zero], **blocks)
        if spec["zero"] or spec["scale_f32"]:
            assert np.array_equal(q, want), name
        else:  # a scale that f16 made smaller: ONNX has a -128 then, octet is symmetric
            assert np.array_equal(q, np.maximum(want, -127)), name
        (means,) = node("DequantizeLinear", [q, scale, zero], **blocks)
        ours = octet.run("octet_rounding", "rows", out, f"{name}.weight", *w.shape)
        assert np.array_equal(np.frombuffer(ours, "<f4").reshape(w.shape), means), name


def collector(method, x, **more):
    told = {"symmetric": True, "num_bins": 2048, "num_quantized_bins": 256, "percentile": 99.9, "scenario": "same", **more}
    c = HistogramCollector(method, **told)
    c.collect({"x": [x]})
    low, high, *_ = c.compute_collection_result()["x"]
    return float(low), float(high)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_percentiles(kind):
    """Within a bin of theirs and one of ours, and between the same numbers: ONNX takes the edge, octet goes on inside."""
    x, found = observe(kind)
    top, width, in_order = float(np.abs(x).max()), found["width"][0], np.sort(x)
    assert abs(found["percentile-s8"][1] - collector("percentile", x)[1]) < width + top / 2048
    for low, high in (found["percentile-u8"][:2], collector("percentile", x, symmetric=False)):
        assert in_order[18] - width <= low <= in_order[21] + width
        assert in_order[-22] - width <= high <= in_order[-19] + width


@pytest.mark.parametrize("kind", [outliers, silu, positive], ids=lambda kind: kind.__name__)
def test_entropy(kind):
    """Both after Migacz, with 128 levels a side. Octet's differ in that its bins are those of |x|, and of a range that was
    doubled to hold all; ONNX smooths counts of 0, and divides them as integers. So: the same end, nearly."""
    x, found = observe(kind)
    theirs = max(np.abs(collector("entropy", x)))
    assert abs(found["entropy-s8"][1] - theirs) < 0.05 * theirs
