"""The parameters of a VTA core: the published ones, and those that only the hardware sees."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["VtaConfig", "PRESETS", "preset", "read_config"]

_WORD = 64          # an instruction is two words of 64 bits, and no field straddles them
_PAGE = 4096        # bytes; no AXI burst crosses it, no element of a scratchpad is larger
_IGNORED_KEYS = ("TARGET", "HW_VER", "SIM_BUS", "FREQ")  # about a board, not about the core
_DERIVED_KEYS = {   # what upstream's files may also say, and what it has to be
    "LOG_OUT_WIDTH":     lambda config: config.log_inp_width,
    "LOG_BLOCK_IN":      lambda config: config.log_block,
    "LOG_BLOCK_OUT":     lambda config: config.log_block,
    "LOG_OUT_BUFF_SIZE": lambda config: (config.log_acc_buff_size + config.log_inp_width
                                         - config.log_acc_width),
    "LOG_UOP_WIDTH":     lambda config: 5,
}


def _field(default: int, low: int, high: int, doc: str):
    return field(default=default, metadata={"range": range(low, high + 1), "doc": doc})


@dataclass(frozen=True, kw_only=True)
class VtaConfig:
    """Sizes of one core; a wrong one cannot exist.

    Fields that begin with ``log_`` are the published ones: upper case, they are the keys of
    VTA's JSON files. All are logarithms to base 2; buffers are in bytes. The tile of one
    micro-operation is (``batch`` x ``block``) times the transpose of (``block`` x ``block``).

    The other fields do not change what a program means, but for ``extensions``.

    Depths follow from the sizes: ``LU``, ``LI``, ``LW``, ``LA`` are the logarithms of the depths
    in elements of the micro-operation, input, weight and accumulator scratchpad. They are the
    widths of the instructions' fields, so the instruction word limits them:

    - ``2*LU + 37 <= 64``: first word of GEMM and ALU;
    - ``2*(LA + LI + LW) <= 64``: second word of GEMM;
    - ``4*LA + 20 <= 64``: second word of ALU;
    - ``LA + max(LA, LI) + LW <= 32``: a micro-operation;
    - every depth is 2 to 65536 (``sram_base`` has 16 bits), every element at most 4096 bytes.

    Raises
    ------
    TypeError
        A field is not an integer (``extensions``: not a bool).
    ValueError
        A field is out of its range, or a limit above is broken; the message names the limit.
    """

    log_inp_width:     int = _field(3, 3, 3, "bits of an input: int8")
    log_wgt_width:     int = _field(3, 3, 3, "bits of a weight: int8")
    log_acc_width:     int = _field(5, 5, 5, "bits of an accumulator: int32")
    log_batch:         int = _field(0, 0, 4, "rows of a tile")
    log_block:         int = _field(4, 2, 6, "columns of a tile, and lanes of an element")
    log_uop_buff_size: int = _field(15, 3, 18, "bytes of the micro-operation scratchpad")
    log_inp_buff_size: int = _field(15, 3, 26, "bytes of the input scratchpad")
    log_wgt_buff_size: int = _field(18, 5, 28, "bytes of the weight scratchpad")
    log_acc_buff_size: int = _field(17, 5, 28, "bytes of the accumulator scratchpad")

    bus_width:     int = _field(64, 64, 512, "bits of the AXI data bus, a power of two")
    address_width: int = _field(32, 32, 64, "bits of an AXI address")
    burst_beats:   int = _field(256, 1, 256, "longest AXI burst; 4 KiB are never crossed")
    reads:         int = _field(8, 1, 64, "AXI reads outstanding")
    writes:        int = _field(8, 1, 64, "AXI writes outstanding")
    queue_depth:   int = _field(512, 2, 4096, "instructions that wait in front of each unit")
    token_width:   int = _field(16, 4, 32, "bits of a token counter; a full one holds its poster")
    extensions:    bool = True  # decode what the manual marks as extension; else it is an error

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.name == "extensions":
                if not isinstance(value, bool):
                    raise TypeError(f"extensions must be True or False, not {value!r}")
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{spec.name} must be an integer, not {value!r}")
            limits = spec.metadata["range"]
            if value not in limits:
                allowed = f"{limits[0]} to {limits[-1]}" if len(limits) > 1 else f"{limits[0]}"
                raise ValueError(f"{spec.name} must be {allowed}, not {value!r}")
        if self.bus_width & (self.bus_width - 1):
            raise ValueError(
                f"bus_width must be a power of two, 64 to 512, not {self.bus_width!r}")
        self._check_depths()
        self._check_words()

    def _check_depths(self):
        for name in ("uop", "inp", "wgt", "acc"):
            if self.element_bytes(name) > _PAGE:
                raise ValueError(f"an element of {name} must have at most {_PAGE} bytes, "
                                 f"not {self.element_bytes(name)}: log_batch or log_block is "
                                 f"too large")
            log_depth = getattr(self, f"log_{name}_depth")
            if log_depth not in range(1, 17):
                raise ValueError(f"log_{name}_buff_size must hold 2**1 to 2**16 elements of "
                                 f"{self.element_bytes(name)} bytes, not 2**{log_depth}")

    def _check_words(self):
        lu, li = self.log_uop_depth, self.log_inp_depth
        lw, la = self.log_wgt_depth, self.log_acc_depth
        for what, formula, bits, limit in (
            ("first word of GEMM and ALU", "2*LU + 37", 2 * lu + 37, _WORD),
            ("second word of GEMM", "2*(LA + LI + LW)", 2 * (la + li + lw), _WORD),
            ("second word of ALU", "4*LA + 20", 4 * la + 20, _WORD),
            ("micro-operation", "LA + max(LA, LI) + LW", la + max(la, li) + lw, 32),
        ):
            if bits > limit:
                raise ValueError(f"{formula} must be at most {limit} bits ({what}), not {bits}: "
                                 f"LU={lu}, LI={li}, LW={lw}, LA={la}")

    @property
    def batch(self) -> int:
        """Rows of an input or accumulator element."""
        return 1 << self.log_batch

    @property
    def block(self) -> int:
        """Columns of an element; also rows of a weight element."""
        return 1 << self.log_block

    @property
    def log_uop_depth(self) -> int:
        return self.log_uop_buff_size - 2

    @property
    def log_inp_depth(self) -> int:
        return (self.log_inp_buff_size - self.log_batch - self.log_block
                - self.log_inp_width + 3)

    @property
    def log_wgt_depth(self) -> int:
        return self.log_wgt_buff_size - 2 * self.log_block - self.log_wgt_width + 3

    @property
    def log_acc_depth(self) -> int:
        return (self.log_acc_buff_size - self.log_batch - self.log_block
                - self.log_acc_width + 3)

    def depth(self, scratchpad: str) -> int:
        """Elements of ``"uop"``, ``"inp"``, ``"wgt"`` or ``"acc"``."""
        return 1 << getattr(self, f"log_{scratchpad}_depth")

    def element_bytes(self, scratchpad: str) -> int:
        """Bytes in DRAM of one element of ``"uop"``, ``"inp"``, ``"wgt"``, ``"acc"``, ``"out"``.

        ``"out"`` is what STORE writes and what a LOAD of ACC_8BIT reads: one byte per lane.
        """
        lanes = self.batch * self.block
        return {"uop": 4, "inp": lanes, "wgt": self.block ** 2, "acc": 4 * lanes,
                "out": lanes}[scratchpad]

    @property
    def fingerprint(self) -> int:
        """32 bits that say which programs run: equal published fields and extensions, equal number.

        It is the same on any machine, and for cores that differ only in how they are built.
        """
        values = {key: value for key, value in self.to_dict().items()
                  if key.startswith("LOG_") or key == "EXTENSIONS"}
        text = json.dumps(values, sort_keys=True).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")

    def to_dict(self) -> dict[str, int]:
        """All fields by their JSON keys, the published ones first."""
        return {name.upper(): int(value) for name, value in dataclasses.asdict(self).items()}

    def to_json(self) -> str:
        """Text of a JSON file; :meth:`from_json` reads it back."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict) -> "VtaConfig":
        """Configuration of JSON keys; keys left out have their defaults.

        Keys about boards (``TARGET``, ``HW_VER``, ...) are ignored. Keys that upstream derives
        (``LOG_OUT_WIDTH``, ``LOG_BLOCK_IN``, ...) must have the value that follows from the rest.
        """
        if not isinstance(values, dict):
            raise TypeError(f"a configuration must be a JSON object, not {values!r}")
        names = {spec.name.upper(): spec.name for spec in dataclasses.fields(cls)}
        derived = {key: value for key, value in values.items() if key in _DERIVED_KEYS}
        known = {}
        for key, value in values.items():
            if key in names:
                known[names[key]] = value
            elif key not in derived and key not in _IGNORED_KEYS:
                raise ValueError(f"a key must be one of {', '.join(names)}, not {key!r}")
        if known.get("extensions") in (0, 1):
            known["extensions"] = bool(known["extensions"])
        if "log_block" not in known and "LOG_BLOCK_IN" in derived:  # files older than LOG_BLOCK
            known["log_block"] = derived["LOG_BLOCK_IN"]
        config = cls(**known)
        for key, value in derived.items():
            expected = _DERIVED_KEYS[key](config)
            if value != expected:
                raise ValueError(f"{key} must be {expected}, which follows from the other keys, "
                                 f"not {value!r}")
        return config

    @classmethod
    def from_json(cls, text: str) -> "VtaConfig":
        """Configuration of a JSON file's text."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"a configuration must be JSON: {error}") from None
        return cls.from_dict(values)


def _sized(block: int, batch: int = 0, *, uop: int, inp: int, wgt: int, acc: int) -> VtaConfig:
    return VtaConfig(log_block=block, log_batch=batch, log_uop_buff_size=uop,
                     log_inp_buff_size=inp, log_wgt_buff_size=wgt, log_acc_buff_size=acc)


PRESETS: dict[str, VtaConfig] = {
    "default": VtaConfig(),
    "batch2":  VtaConfig(log_batch=1),
    # LOG_BLOCK=3 alone would make every depth twice what the GEMM word has room for.
    "block8":  _sized(3, uop=15, inp=14, wgt=16, acc=16),
    "block4":  _sized(2, uop=12, inp=12, wgt=12, acc=13),
    "block32": VtaConfig(log_block=5),
    "small":   _sized(4, uop=12, inp=12, wgt=14, acc=14),
}


def preset(name: str) -> VtaConfig:
    """The configuration called ``name`` in :data:`PRESETS`."""
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]


def read_config(name: str) -> VtaConfig:
    """The preset ``name``, or the configuration in the JSON file of that name."""
    if name in PRESETS:
        return preset(name)
    try:
        return VtaConfig.from_json(Path(name).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"config must be {', '.join(PRESETS)} or a file: {error}") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
