import json
import re

import pytest

from hw.vta.config import PRESETS, VtaConfig, preset

# What upstream publishes (config/vta_config.json of every board sample).
PUBLISHED = """{
  "TARGET" : "sim", "HW_VER" : "0.0.2",
  "LOG_INP_WIDTH" : 3, "LOG_WGT_WIDTH" : 3, "LOG_ACC_WIDTH" : 5,
  "LOG_BATCH" : 0, "LOG_BLOCK" : 4,
  "LOG_UOP_BUFF_SIZE" : 15, "LOG_INP_BUFF_SIZE" : 15, "LOG_WGT_BUFF_SIZE" : 18,
  "LOG_ACC_BUFF_SIZE" : 17
}"""

#   preset      tile           depths: uop  inp   wgt   acc
SIZES = {
    "default": ((1, 16, 16), (8192, 2048, 1024, 2048)),
    "batch2":  ((2, 16, 16), (8192, 1024, 1024, 1024)),
    "block8":  ((1, 8, 8),   (8192, 2048, 1024, 2048)),
    "block4":  ((1, 4, 4),   (1024, 1024, 256, 512)),
    "block32": ((1, 32, 32), (8192, 1024, 256, 1024)),
    "small":   ((1, 16, 16), (1024, 256, 64, 256)),
}


@pytest.mark.parametrize("name", PRESETS)
def test_sizes(name):
    config = preset(name)
    tile, depths = SIZES[name]
    assert (config.batch, config.block, config.block) == tile
    assert tuple(config.depth(pad) for pad in ("uop", "inp", "wgt", "acc")) == depths


def test_element_bytes():
    config = preset("default")
    sizes = {name: config.element_bytes(name) for name in ("uop", "inp", "wgt", "acc", "out")}
    assert sizes == {"uop": 4, "inp": 16, "wgt": 256, "acc": 64, "out": 16}
    assert preset("batch2").element_bytes("acc") == 128
    largest = VtaConfig(log_block=6, log_batch=4, log_wgt_buff_size=20)
    assert [largest.element_bytes(name) for name in ("wgt", "acc")] == [4096, 4096]


def test_published_file_is_the_default():
    assert VtaConfig.from_json(PUBLISHED) == VtaConfig() == preset("default")


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = preset(name)
    assert VtaConfig.from_json(config.to_json()) == config
    published = [key for key in json.loads(PUBLISHED) if key.startswith("LOG")]
    assert list(config.to_dict())[:len(published)] == published


def test_own_fields_round_trip():
    config = VtaConfig(bus_width=256, extensions=False)
    assert VtaConfig.from_json(config.to_json()) == config


def test_fingerprint_says_which_programs_run():
    assert len({config.fingerprint for config in PRESETS.values()}) == len(PRESETS)
    assert VtaConfig(bus_width=512).fingerprint == VtaConfig().fingerprint
    assert VtaConfig(extensions=False).fingerprint != VtaConfig().fingerprint
    assert VtaConfig().fingerprint == VtaConfig.from_json(PUBLISHED).fingerprint == 0x35c8c54b


def test_keys_that_follow():
    values = json.loads(PUBLISHED) | {"LOG_OUT_WIDTH": 3, "LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 4,
                                      "LOG_OUT_BUFF_SIZE": 15}
    assert VtaConfig.from_dict(values) == VtaConfig()
    old = {key: value for key, value in values.items() if key != "LOG_BLOCK"}
    assert VtaConfig.from_dict(old) == VtaConfig()
    with pytest.raises(ValueError, match="^LOG_BLOCK_OUT must be 4, which follows from the "
                                         "other keys, not 5$"):
        VtaConfig.from_dict(values | {"LOG_BLOCK_OUT": 5})


@pytest.mark.parametrize("wrong, message", [
    ({"log_inp_width": 2},      "log_inp_width must be 3, not 2"),
    ({"log_batch": 5},          "log_batch must be 0 to 4, not 5"),
    ({"log_block": 1},          "log_block must be 2 to 6, not 1"),
    ({"bus_width": 96},         "bus_width must be a power of two, 64 to 512, not 96"),
    ({"bus_width": 32},         "bus_width must be 64 to 512, not 32"),
    # The limits of the instruction word; the first two are upstream's silent traps.
    ({"log_block": 3},          "2*(LA + LI + LW) must be at most 64 bits (second word of GEMM), "
                                "not 72: LU=13, LI=12, LW=12, LA=12"),
    ({"log_acc_buff_size": 18}, "2*(LA + LI + LW) must be at most 64 bits (second word of GEMM), "
                                "not 66: LU=13, LI=11, LW=10, LA=12"),
    ({"log_uop_buff_size": 16}, "2*LU + 37 must be at most 64 bits (first word of GEMM and ALU), "
                                "not 65: LU=14, LI=11, LW=10, LA=11"),
    ({"log_acc_buff_size": 18, "log_inp_buff_size": 14},
                                "4*LA + 20 must be at most 64 bits (second word of ALU), "
                                "not 68: LU=13, LI=10, LW=10, LA=12"),
    ({"log_inp_buff_size": 10, "log_wgt_buff_size": 20},
                                "LA + max(LA, LI) + LW must be at most 32 bits (micro-operation), "
                                "not 34: LU=13, LI=6, LW=12, LA=11"),
    ({"log_wgt_buff_size": 8},  "log_wgt_buff_size must hold 2**1 to 2**16 elements of 256 bytes, "
                                "not 2**0"),
    ({"log_inp_buff_size": 21, "log_acc_buff_size": 8, "log_wgt_buff_size": 9},
                                "log_inp_buff_size must hold 2**1 to 2**16 elements of 16 bytes, "
                                "not 2**17"),
])
def test_wrong(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VtaConfig(**wrong)


@pytest.mark.parametrize("wrong, message", [
    ({"log_block": "4"},   "log_block must be an integer, not '4'"),
    ({"log_batch": True},  "log_batch must be an integer, not True"),
    ({"extensions": 1},    "extensions must be True or False, not 1"),
])
def test_wrong_kind(wrong, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        VtaConfig(**wrong)


@pytest.mark.parametrize("text, error, message", [
    ("[1]",              TypeError,  r"a configuration must be a JSON object, not \[1\]"),
    ("{",                ValueError, "a configuration must be JSON: .*"),
    ('{"LOG_BLOK": 4}',  ValueError, "a key must be one of LOG_INP_WIDTH, .*, not 'LOG_BLOK'"),
])
def test_wrong_json(text, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        VtaConfig.from_json(text)


def test_unknown_preset():
    with pytest.raises(ValueError, match="^preset must be one of default, .*, not 'huge'$"):
        preset("huge")
