"""Remake observers.json: what PyTorch's observers and rounding make of the arrays of tests/oracle/test_observer.py.

    make_observers.py > observers.json        with torch 1.13.0 (the last whole one on PyPI) and numpy; a few seconds
"""

import base64
import hashlib
import json
import os
import sys

import numpy as np
import torch
from torch.ao.quantization import observer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oracle"))
from observed import BATCH, CHANNELS, KINDS, ROUNDED, array  # noqa: E402

S8 = {"dtype": torch.qint8, "quant_min": -127, "quant_max": 127}
U8 = {"dtype": torch.quint8, "quant_min": 0, "quant_max": 255}


def found(seen, scale, zero):
    """[min, max, scale, zero point], exact."""
    return [*(float(v).hex() for v in (*seen, scale)), int(zero)]


def whole(kind, x, **told):
    levels = {"s8": {**S8, "qscheme": torch.per_tensor_symmetric}, "u8": {**U8, "qscheme": torch.per_tensor_affine}}
    for name, how in levels.items():
        o = kind(**how, **told)
        for batch in x.reshape(-1, BATCH):
            o(torch.from_numpy(batch))
        yield name, found((o.min_val, o.max_val), *o.calculate_qparams())


def channels(x):
    o = observer.PerChannelMinMaxObserver(ch_axis=1, qscheme=torch.per_channel_symmetric, **S8)
    o(torch.from_numpy(x.reshape(-1, CHANNELS)))
    return [found(each[:2], *each[2:]) for each in zip(o.min_val, o.max_val, *o.calculate_qparams())]


def rounded(x):
    scale = float(np.abs(x).max() / np.float32(127))
    q = torch.quantize_per_tensor(torch.from_numpy(x), scale, 0, torch.qint8)
    return base64.b64encode(q.int_repr().numpy().tobytes()).decode()


def main():
    kinds = {}
    for kind in KINDS:
        x = array(kind)
        out = {"sha256": hashlib.sha256(x.tobytes()).hexdigest()}
        out |= {f"minmax-{n}": v for n, v in whole(observer.MinMaxObserver, x)}
        out |= {f"moving-{n}": v for n, v in whole(observer.MovingAverageMinMaxObserver, x, averaging_constant=0.01)}
        out |= {f"histogram-{n}": v for n, v in whole(observer.HistogramObserver, x)}
        out |= {"channels": channels(x), "rounded": rounded(x[:ROUNDED])}
        kinds[kind.__name__] = out
    json.dump({"torch": torch.__version__, "kinds": kinds}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
