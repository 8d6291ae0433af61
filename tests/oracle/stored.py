"""octet's own files, read without octet: integers, scales and zero points to float64, rotations undone.

`Stored` gives the weights that a file's integers mean. `Simulated` also makes each linear layer's input go through
the integers that the file's spec asks for, as design.md section 5 defines them.
"""

import numpy as np
import oracle

DEFAULTS = ("act_group", "scale_f32", "zero", "act_zero", "act_static")
DYNAMIC, STATIC, CHANNEL = range(3)


def hadamard(n):
    """Sylvester's, orthonormal: its own inverse."""
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return h / np.sqrt(n)


def turn(x, block, axis=-1):
    """x times Hadamard blocks along an axis."""
    if block < 2:
        return x
    x = np.moveaxis(x, axis, -1)
    y = (x.reshape(*x.shape[:-1], -1, block) @ hadamard(block)).reshape(x.shape)
    return np.moveaxis(y, -1, axis)


def quantized(x, group, affine):
    """What x [rows][k] is after integers with a scale (and a zero point) for each token and group."""
    g = x.reshape(len(x), -1, group)
    if affine:
        low, high = np.minimum(g.min(axis=-1), 0)[..., None], np.maximum(g.max(axis=-1), 0)[..., None]
        step = (high - low) / 255
        safe = np.where(step > 0, step, 1)
        zero = -128 - np.rint(low / safe)
        q = np.clip(np.rint(g / safe) + zero, -128, 127) - zero
    else:
        step = np.abs(g).max(axis=-1, keepdims=True) / 127
        q = np.clip(np.rint(g / np.where(step > 0, step, 1)), -127, 127)
    return (step * q).reshape(x.shape)


def by_steps(x, step, zero, affine):
    """The same by steps and zero points that are known, one for all or one a channel."""
    q = np.clip(np.rint(x / step) + zero, -128 if affine else -127, 127)
    return step * (q - zero)


class Stored(oracle.File):
    def __init__(self, path):
        super().__init__(path)
        names = self.get("octet.linear.names", [])
        self.specs = {name: {} for name in names}
        for key in ("bits", "group", "block_in", "block_out", *DEFAULTS):
            for name, value in zip(names, self.get(f"octet.linear.{key}", [0] * len(names)), strict=True):
                self.specs[name][key] = int(value)

    def width(self, name):
        if name.endswith("ffn_down"):
            return int(self.arch_get("feed_forward_length"))
        if name.endswith("attn_output"):
            q = name.replace("attn_output", "attn_q")
            return int(self.tensors[q + (".octet_q" if q in self.specs else ".weight")].shape[1])
        return int(self.arch_get("embedding_length"))

    def rows(self, name):
        self.unread.discard(name)
        found = self.tensors[name]
        return np.asarray(found.data).reshape([int(n) for n in found.shape[::-1]])

    def integers(self, name):
        """[n][padded k] of what the file stores, each times its scale; still rotated."""
        spec = self.specs[name]
        q = self.rows(name + ".octet_q").astype(np.int16)
        if spec["bits"] == 4:
            q = q & 0xFF
            q = np.stack([q & 15, q >> 4], axis=-1).reshape(len(q), -1) - 8
        if spec["zero"]:
            q = q - np.repeat(self.rows(name + ".octet_zero").astype(np.int16), spec["group"], axis=1)
        scale = self.rows(name + ".octet_scale").astype(np.float64)
        assert self.rows(name + ".octet_scale").dtype == (np.float32 if spec["scale_f32"] else np.float16)
        return q * np.repeat(scale, spec["group"], axis=1)

    def steps(self, name):
        """Steps and zero points of static inputs, [1] or [k] each."""
        found = self.rows(name + ".octet_act")
        assert found.dtype == np.float32 and len(found) == 1 + self.specs[name]["act_zero"]
        step, zero = found.astype(np.float64) if len(found) == 2 else (found[0].astype(np.float64), np.zeros(1))
        assert len(step) == (self.width(name) if self.specs[name]["act_static"] == CHANNEL else 1)
        return step, zero

    def tensor(self, name, optional=False):
        base = name.removesuffix(".weight")
        if base not in self.specs:
            return super().tensor(name, optional)
        w = self.integers(base)[:, : self.width(base)]
        if self.specs[base]["act_static"]:
            step, _ = self.steps(base)
            w = w * (step.max() / step)
        return turn(turn(w, self.specs[base]["block_in"]), self.specs[base]["block_out"], axis=0)


class Simulated(Stored):
    @property
    def linear(self):
        return SimulatedLinear

    def input_of(self, base):
        if base not in self.specs:  # floats, which read floats
            return lambda x: x
        spec, k = self.specs[base], self.width(base)
        padded = -(-k // spec["group"]) * spec["group"]

        def through(x):
            if spec["act_static"]:
                y = by_steps(turn(x, spec["block_in"]), *self.steps(base), spec["act_zero"])
                return turn(y, spec["block_in"])
            wide = np.zeros((len(x), padded))
            wide[:, :k] = turn(x, spec["block_in"])
            return turn(quantized(wide, spec["act_group"] or spec["group"], spec["act_zero"])[:, :k], spec["block_in"])

        return through

    def head_input(self):
        own = "output" in self.specs or "output.weight" in self.tensors
        return self.input_of("output" if own else "token_embd")


class SimulatedLinear(oracle.Linear):
    def __init__(self, file, name):
        super().__init__(file, name)
        self.input = file.input_of(name)

    def __call__(self, x):
        return super().__call__(self.input(x))
