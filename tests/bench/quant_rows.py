"""Which schemes the tables of docs/QUANTIZATION.md show, in order, and why each is there."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    name: str  # what --schemes calls it, and the table
    words: str
    quantize: tuple = ()  # flags of octet quantize; None: nothing is quantized. {kept}: a name of the master's own
    run: tuple = ()  # flags of octet eval and bench engine
    observed: bool = False  # by the text that the model draws
    plan: dict = None  # what {kept}.plan holds


def row(name, words, quantize="", run="", observed=False, plan=None):
    return Row(name, words, tuple(quantize.split()), tuple(run.split()), observed or "--compensate" in quantize, plan)


FP32 = Row("fp32", "the master itself: what all others are held against", None, ("--precision", "fp32"))

TABLES = {
    "schemes": [
        FP32,
        row("int8", "the default: symmetric, groups of 64, H64"),
        row("int8 +gptq", "its rounding errors compensated", "--compensate"),
        row("int8 kv-f32", "its keys and values in f32", "", "--kv f32"),
        row("int8 smooth", "inputs smoothed, at the weights' expense", "--smooth auto", observed=True),
        row("int8 smooth +gptq", "both", "--smooth auto --compensate"),
        row("int8 h0", "no Hadamard transform", "--hadamard none"),
        row("int8 g32", "groups of 32", "--group 32"),
        row("int8 g32 +gptq", "… compensated", "--group 32 --compensate"),
        row("int8 g128", "groups of 128", "--group 128"),
        row("int8 affine", "zero points for weights", "--affine"),
        row("int8 actaffine", "zero points for activations", "--affine-activations"),
        row("int8 f32-scales", "scales of 4 bytes", "--scales f32"),
        row("q8_0", "standard: groups of 32, no transform", "--scheme q8_0"),
        row("fast", "one scale a row and a token, H64", "--scheme fast"),
        row("fast +gptq", "… compensated", "--scheme fast --compensate"),
        row("fast smooth +gptq", "… and smoothed", "--scheme fast --smooth auto --compensate"),
        row("fast head-int8", "… under a head in groups of 64", "--scheme fast --head int8"),
        row("fast h0", "… without the transform", "--scheme fast --hadamard none"),
        row("tensor h0", "one scale a matrix, without the transform", "--group tensor --hadamard none"),
        row("int4", "4 bits in groups of 32, the head in 8", "--scheme int4"),
        row("int4 +gptq", "… compensated", "--scheme int4 --compensate"),
        row("int4 smooth +gptq", "… smoothed, ranges by the outputs' error", "--scheme int4 --smooth auto --clip --compensate"),
        row("int4 affine", "… with zero points", "--scheme int4 --affine"),
        row("plan 6.5", "the best plan of 4 and 8 bits in 6.5", "--max-bytes 111000000 --compensate --sweep {kept}.sweep"),
        row("plan 9.5", "the best plan in 9.5", "--best --compensate --sweep {kept}.sweep"),
    ],
    # Activations with one scale for all tokens, step by step from what breaks to what works.
    "static": [
        row("dynamic", "the default: a scale for each token and group"),
        row("static row-h0 minmax", "one scale for all, of the extremes; whole rows, no transform",
            "--scheme int8-h0-row-static --observer minmax", observed=True),
        row("static row-h0 l2", "… of the least squared error", "--scheme int8-h0-row-static --observer l2", observed=True),
        row("static minmax", "the extremes, after the transform", "--scheme int8-static --observer minmax", observed=True),
        row("static percentile", "… a percentile", "--scheme int8-static --observer percentile", observed=True),
        row("static l2", "… the least squared error", "--scheme int8-static --observer l2", observed=True),
        row("static entropy", "… the least relative entropy", "--scheme int8-static --observer entropy", observed=True),
        row("static h0 smooth", "SmoothQuant in place of the transform, the extremes",
            "--scheme int8-h0-static --observer minmax --smooth auto", observed=True),
        row("channel", "a scale a channel, the same for all tokens", "--scheme int8-channel --observer minmax", observed=True),
        row("static but two", "a percentile, but for the two worst inputs, of ffn_down of layers 11 and 28",
            "--plan {kept}.plan --observer percentile", observed=True,
            plan={"default": "int8-static", "modules": {"blk.11.ffn_down": "int8", "blk.28.ffn_down": "int8"}}),
    ],
}
