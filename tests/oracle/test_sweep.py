"""What a sweep says that a unit loses, against float64: a file in which that unit alone is quantized, read and run without
octet, on the ids that the sweep's file names. And what a search makes of it, against all plans there are."""

import itertools
import json

import make_tiny
import numpy as np
import octet
import oracle
import pytest
import stored

NAMES = ["llama-untied-linear", "qwen2-tied", "head100"]
CHOICES = ["int4-h64-g32", "int8-h64-g64", "int8-h64-g32-actaffine", "f16"]
BITS = {"int4-h64-g32": 4.5, "int8-h64-g64": 8.25, "int8-h64-g32-actaffine": 8.5, "f16": 16}
LAYER = [("attn_qkv", ["attn_q", "attn_k", "attn_v"]), ("attn_output", ["attn_output"]),
         ("ffn_gate_up", ["ffn_gate", "ffn_up"]), ("ffn_down", ["ffn_down"])]  # fmt: skip


def divergence(ref, x):
    """Mean of KL(softmax(ref) || softmax(x)) over rows."""
    p, q = oracle.softmax(ref), oracle.softmax(x)
    return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())


class Swept:
    def __init__(self, name, folder):
        self.spec, self.folder, self.path, self.file = make_tiny.SPECS[name], folder, folder / "in.gguf", folder / "sweep"
        make_tiny.make(name, str(self.path))
        self.found = self.search("--max-kld", 0.1)["search"]
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        self.head, self.plans = lines[0], [line for line in lines if "plan" in line]
        self.units = {(line["unit"], line["choice"]): line for line in lines if "unit" in line}
        self.ids = np.array(self.head["ids"]).reshape(-1, self.head["ctx"])
        self.reference = self.logits(oracle.Model(str(self.path)))

    def search(self, *flags):
        flags = [*flags, "--choices", ",".join(CHOICES), "--sweep", self.file, "--json"]
        return json.loads(octet.run("octet", "quantize", self.path, self.folder / "out.gguf", *flags))

    def logits(self, model):
        return np.concatenate([model.logits(ids) for ids in self.ids])

    def measured(self, path):
        """KL divergence of a file from the model it was made of, in float64."""
        return divergence(self.reference, self.logits(oracle.Model(str(path), stored.Simulated(str(path)))))

    def names(self):
        ends = [] if self.spec.tied else [("embedding", ["token_embd"])]
        ends.append(("output", ["token_embd" if self.spec.tied else "output"]))
        layers = [(f"blk.{i}.{site}", [f"blk.{i}.{m}" for m in modules])
                  for i in range(self.spec.n_layer) for site, modules in LAYER]  # fmt: skip
        return dict(ends + layers)


@pytest.fixture(scope="module", params=NAMES)
def swept(request, tmp_path_factory):
    return Swept(request.param, tmp_path_factory.mktemp("sweep"))


def test_every_unit_in_every_choice(swept):
    assert {unit: line["modules"] for (unit, _), line in swept.units.items() if unit != "kv"} == swept.names()
    assert swept.units.keys() == {("kv", "int8"), *itertools.product(swept.names(), CHOICES)}
    sizes = {t.name.removesuffix(".weight"): t.n_elements for t in oracle.File(str(swept.path)).tensors.values()}
    for (unit, choice), line in swept.units.items():
        assert line["weights"] == sum(sizes[m] for m in line["modules"])
        padded = 1 if swept.spec.d_model % 64 == 0 else 1.2
        least = line["weights"] * BITS.get(choice, 0) / 8
        assert least <= line["bytes"] <= least * padded, (unit, choice)


def test_what_a_unit_loses(swept):
    plan, out = swept.folder / "plan.json", swept.folder / "alone.gguf"
    for i, (unit, modules) in enumerate(swept.names().items()):
        choice = CHOICES[i % len(CHOICES)]
        plan.write_text(json.dumps({"version": 1, "default": "f32", "modules": dict.fromkeys(modules, choice)}))
        octet.run("octet", "quantize", swept.path, out, "--plan", plan)
        want = swept.measured(out)
        assert swept.units[unit, choice]["kld"] == pytest.approx(want, rel=0.03, abs=1e-10), (unit, choice)


def test_the_plan_is_the_cheapest(swept):
    """Of all there are, by the sum of what units lose; and it keeps the bound, measured as a whole."""
    kv = swept.units["kv", "int8"]["kld"]
    tables = [[swept.units[unit, choice] for choice in CHOICES] for unit in swept.names()]
    bytes_, kld = np.zeros(1), np.full(1, kv)
    for table in tables:
        bytes_ = (bytes_[:, None] + [line["bytes"] for line in table]).ravel()
        kld = (kld[:, None] + [line["kld"] for line in table]).ravel()
    for tried in swept.plans:
        assert tried["bytes"] == bytes_[kld <= tried["kld_predicted"] * (1 + 1e-9)].min()
    assert swept.found["kld"] <= 0.1
    assert swept.found["kld"] == pytest.approx(swept.found["kld_predicted"], rel=0.2)
