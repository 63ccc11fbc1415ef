"""Makes *.safetensors beside this file: one quantised linear layer each, and its weights in float32.

    python make_goldens.py              writes them; needs numpy
    python make_goldens.py --check      also asks the reference implementations for the same numbers; needs torch,
                                        transformers 5.24, compressed-tensors 0.20.1, and on PYTHONPATH
                                        awq/utils/packing_utils.py of autoawq 0.2.9

The numbers are random; codes, scales and zero points are packed by the functions below. `expected` is (q - z) * s,
the product rounded once to float32. References compute it in the type of the scales; they are asked with the scales
widened to float32. AutoGPTQ 0.7.1 has its formula within QuantLinear.forward (qlinear_cuda.py), repeated in check_gptq.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LAYER = "model.layers.0.mlp.up_proj."


def bf16(values):
    """Rounded towards zero; the upper half of the bits."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def widen(dtype, stored):
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def e4m3(codes):
    """OCP 8-bit floating point specification 1.0, E4M3."""
    codes = codes.astype(np.int64)
    exponent, mantissa = codes >> 3 & 15, (codes & 7).astype(np.float64)
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return np.where(codes & 128, -magnitude, magnitude).astype(np.float32)


def pack(values, bits, order=None):
    """Unsigned values along the last axis into words, `order[i]` the element in the i-th lowest bits."""
    per_word = 32 // bits
    order = order or range(per_word)
    padding = -values.shape[-1] % per_word
    padded = np.pad(values, [(0, 0), (0, padding)]).astype(np.uint64)
    lanes = padded.reshape(values.shape[0], -1, per_word)
    words = sum(lanes[:, :, element] << np.uint64(bits * i) for i, element in enumerate(order))
    return words.astype(np.uint32).view(np.int32)


class Case:
    def __init__(self, name, config, seed):
        self.name, self.config = name, config
        self.random = np.random.default_rng(seed)
        self.tensors = {}

    def put(self, part, dtype, values):
        self.tensors[LAYER + part] = (dtype, values)

    def scales(self, shape, dtype):
        values = np.asarray(self.random.uniform(0.001, 0.02, shape))
        stored = {"F16": np.float16, "F32": np.float32}.get(dtype)
        return values.astype(stored) if stored else bf16(values)

    def write(self, expected):
        self.expected = expected.astype(np.float32)
        tensors = dict(self.tensors, expected=("F32", self.expected))
        header, data = {"__metadata__": {"quantization_config": json.dumps(self.config)}}, b""
        # Widest types first, as the format's own writer aligns them.
        for name, (dtype, values) in sorted(tensors.items(), key=lambda t: (-t[1][1].itemsize, t[0])):
            raw = np.ascontiguousarray(values).tobytes()
            offsets = [len(data), len(data) + len(raw)]
            header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
            data += raw
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (HERE / f"{self.name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
        return self


def expand(grid, rows, columns, shape):
    """Each number of a grid for a block of rows x columns."""
    return np.repeat(np.repeat(grid, rows, 0), columns, 1)[: shape[0], : shape[1]]


def finite_e4m3(random, shape):
    codes = random.integers(0, 256, shape, dtype=np.uint8)
    return np.where(codes & 127 == 127, codes - 1, codes).astype(np.uint8)


def fp8(name, config, scale_name, scale_dtype, scale_shape, block, seed, shape=(20, 36), activation=None):
    case = Case(name, config, seed)
    codes = finite_e4m3(case.random, shape)
    stored = case.scales(scale_shape, scale_dtype)
    case.put("weight", "F8_E4M3", codes)
    case.put(scale_name, scale_dtype, stored)
    if activation:
        case.put(activation, "F32", case.scales((), "F32"))
    scales = widen(scale_dtype, stored).reshape(-1, 1 if block is None else -(-shape[1] // block[1]))
    block = block or (1 if scales.size > 1 else shape[0], shape[1])
    return case.write(e4m3(codes) * expand(scales, *block, shape))


def gptq(name, bits, group_size, seed, desc_act=False, sym=True, version="gptq", n=24, k=32, g_idx=True):
    config = {
        "quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": desc_act, "sym": sym,
        "damp_percent": 0.01, "true_sequential": True, "static_groups": False, "checkpoint_format": version,
    }
    case = Case(name, config, seed)
    size = k if group_size == -1 else group_size
    groups, offset = -(-k // size), {"gptq": 1, "gptq_v2": 0}[version]
    q = case.random.integers(0, 2**bits, (k, n))
    stored = case.random.integers(0, 2**bits, (groups, n))
    if sym:
        stored[:] = 2 ** (bits - 1) - offset
    index = np.arange(k) // size
    if desc_act:
        index = case.random.permutation(index)
    scales = case.scales((groups, n), "F16")
    case.put("qweight", "I32", pack(q.T, bits).T)
    case.put("qzeros", "I32", pack(stored, bits))
    case.put("scales", "F16", scales)
    if g_idx:
        case.put("g_idx", "I32", index.astype(np.int32))
    # AutoGPTQ writes one for every layer.
    case.put("bias", "F16", np.zeros(n, np.float16))
    case.index = index
    return case.write(((q - (stored + offset)[index]) * scales.astype(np.float32)[index]).T)


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(name, group_size, seed, n=24, k=32):
    config = {
        "quant_method": "awq", "bits": 4, "group_size": group_size, "version": "gemm", "zero_point": True,
        "backend": "autoawq", "do_fuse": False, "modules_to_not_convert": None,
    }
    case = Case(name, config, seed)
    size = k if group_size == -1 else group_size
    q = case.random.integers(0, 16, (k, n))
    z = case.random.integers(0, 16, (k // size, n))
    scales = case.scales((k // size, n), "F16")
    case.put("qweight", "I32", pack(q, 4, AWQ_ORDER))
    case.put("qzeros", "I32", pack(z, 4, AWQ_ORDER))
    case.put("scales", "F16", scales)
    index = np.arange(k) // size
    return case.write(((q - z[index]) * scales.astype(np.float32)[index]).T)


def compressed_config(format, weights, inputs=None):
    defaults = {"actorder": None, "block_structure": None, "dynamic": False, "group_size": None, "observer": "minmax"}
    group = {
        "targets": ["Linear"], "weights": {**defaults, **weights}, "input_activations": inputs, "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors", "format": format, "config_groups": {"group_0": group},
        "ignore": ["lm_head"], "kv_cache_scheme": None, "quantization_status": "compressed",
        "global_compression_ratio": None,
    }


def int8(name, format, weights, scale_dtype, seed, n=20, k=36):
    case = Case(name, compressed_config(format, {"num_bits": 8, "type": "int", **weights}), seed)
    size = weights.get("group_size") or k
    q = case.random.integers(-128, 128, (n, k)).astype(np.int8)
    stored = case.scales((1,) if weights["strategy"] == "tensor" else (n, k // size), scale_dtype)
    case.put("weight", "I8", q)
    case.put("weight_scale", scale_dtype, stored)
    z = np.zeros((n, k // size), np.int8)
    if not weights["symmetric"]:
        z = case.random.integers(-20, 20, z.shape).astype(np.int8)
        case.put("weight_zero_point", "I8", z)
    scales = np.broadcast_to(widen(scale_dtype, stored).reshape(-1, stored.shape[-1]), z.shape)
    return case.write((q - expand(z.astype(np.int32), 1, size, q.shape)) * expand(scales, 1, size, q.shape))


def packed(name, bits, weights, scale_dtype, seed, n=20, k=36, ordered=False):
    weights = {"num_bits": bits, "type": "int", **weights}
    case = Case(name, compressed_config("pack-quantized", weights), seed)
    size, half = weights.get("group_size") or k, 2 ** (bits - 1)
    q = case.random.integers(-half, half, (n, k))
    groups = k // size
    stored = case.scales((n, groups), scale_dtype)
    z = np.zeros((n, groups), np.int64)
    case.put("weight_packed", "I32", pack(q + half, bits))
    case.put("weight_shape", "I64", np.array([n, k], np.int64))
    case.put("weight_scale", scale_dtype, stored)
    if not weights["symmetric"]:
        z = case.random.integers(-half, half, z.shape)
        case.put("weight_zero_point", "I32", pack((z + half).T, bits).T)
    index = np.arange(k) // size
    if ordered:
        index = case.random.permutation(index)
        case.put("weight_g_idx", "I32", index.astype(np.int32))
    return case.write((q - z[:, index]) * widen(scale_dtype, stored)[:, index])


def all_cases():
    fp8_block = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [8, 16]}
    auto_fp8 = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
    fbgemm = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}
    float8 = {"num_bits": 8, "type": "float", "symmetric": True}
    token = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    groups = {"strategy": "group", "group_size": 12}
    return [
        fp8("fp8-block", fp8_block, "weight_scale_inv", "F32", (3, 2), (8, 16), 1, (24, 32)),
        fp8("fp8-block-ragged", fp8_block, "weight_scale_inv", "BF16", (3, 3), (8, 16), 2),
        fp8("fp8-tensor", auto_fp8, "weight_scale", "F32", (), None, 3, activation="input_scale"),
        fp8("fp8-tensor-inv", {**auto_fp8, "weight_block_size": None}, "weight_scale_inv", "BF16", (1,), None, 4,
            activation="activation_scale"),
        fp8("fp8-channel", fbgemm, "weight_scale", "F32", (20, 1), None, 5),
        gptq("gptq-4", 4, 16, 6, g_idx=False),
        gptq("gptq-4-desc-act", 4, 8, 7, desc_act=True, sym=False),
        gptq("gptq-4-v2-one-group", 4, -1, 8, sym=False, version="gptq_v2"),
        gptq("gptq-8", 8, 16, 9, sym=False),
        awq("awq", 16, 10),
        awq("awq-one-group", -1, 11),
        int8("int-quantized-channel", "int-quantized", {"strategy": "channel", "symmetric": True}, "BF16", 12),
        int8("int-quantized-tensor", "int-quantized", {"strategy": "tensor", "symmetric": True}, "F32", 13),
        int8("naive-quantized-group", "naive-quantized", {**groups, "symmetric": False}, "F16", 14),
        packed("pack-quantized-4", 4, {**groups, "symmetric": True}, "BF16", 15),
        packed("pack-quantized-4-zeros", 4, {**groups, "symmetric": False}, "F16", 16),
        packed("pack-quantized-4-actorder", 4, {**groups, "symmetric": True, "actorder": "group"}, "F32", 17, ordered=True),
        packed("pack-quantized-8-channel", 8, {"strategy": "channel", "symmetric": False}, "F32", 18),
        fp8("float-quantized-channel", compressed_config("float-quantized", {**float8, "strategy": "channel"}, token),
            "weight_scale", "BF16", (20, 1), None, 19),
        fp8("float-quantized-block",
            compressed_config("float-quantized", {**float8, "strategy": "block", "block_structure": [8, 16]}, token),
            "weight_scale", "F32", (3, 3), (8, 16), 20),
    ]


def as_torch(dtype, values):
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if dtype == "BF16":
        return tensor.view(torch.bfloat16).float()
    if dtype == "F8_E4M3":
        return tensor.view(torch.float8_e4m3fn)
    return tensor.float() if dtype == "F16" else tensor


def check_gptq(parts, bits):
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    zeros = parts["qzeros"].unsqueeze(2).expand(-1, -1, 32 // bits) >> shifts
    zeros = (zeros & 2**bits - 1).reshape(parts["scales"].shape)
    q = parts["qweight"].unsqueeze(1).expand(-1, 32 // bits, -1) >> shifts.unsqueeze(-1)
    q = (q & 2**bits - 1).reshape(-1, q.shape[-1])
    return q, zeros


def reference(case):
    """The weights by the reference implementation, or none where this form has none."""
    import torch

    parts = {name.removeprefix(LAYER): as_torch(*tensor) for name, tensor in case.tensors.items()}
    config, method = case.config, case.config["quant_method"]
    if method == "compressed-tensors":
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import QuantizationScheme

        group = json.loads(json.dumps(config["config_groups"]["group_0"]))
        if group["weights"].get("actorder") == "group":
            return None  # removed from compressed-tensors in 2026
        scheme = QuantizationScheme.model_validate(group)
        compressor = BaseCompressor.get_value_from_registry(config["format"])
        return compressor.decompress(parts, scheme)["weight"]
    if method == "awq":
        from awq.utils.packing_utils import dequantize_gemm

        k = parts["qweight"].shape[0]
        size = config["group_size"] if config["group_size"] > 0 else k
        return dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, size).T
    if method == "gptq":
        q, zeros = check_gptq(parts, config["bits"])
        zeros = zeros + (config["checkpoint_format"] == "gptq")
        g_idx = torch.from_numpy(case.index).long()
        return (parts["scales"][g_idx] * (q - zeros[g_idx])).T
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    scales = parts.get("weight_scale_inv", parts.get("weight_scale"))
    scales = scales.reshape(1, 1) if scales.numel() == 1 else scales
    if any(n % s for n, s in zip(parts["weight"].shape, scales.shape)):
        return None  # transformers wants whole blocks
    return Fp8Dequantize(None)._dequantize_one(parts["weight"], scales, torch.float32)


def main():
    for case in all_cases():
        found = reference(case) if "--check" in sys.argv else None
        if found is not None:
            assert found.dtype.is_floating_point and found.shape == case.expected.shape, case.name
            assert (found.float().numpy() == case.expected).all(), case.name
        print(case.name, "" if found is None else "as the reference")


if __name__ == "__main__":
    main()
