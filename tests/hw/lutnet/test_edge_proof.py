"""The proof of edge networks holds for what is built, and not for what is broken."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest

from hw.lutnet import report
from hw.lutnet.config import NetworkConfig
from hw.lutnet.edge_proof import EdgeProofError, prove
from hw.lutnet.edges import EdgeLayer, EdgeModel, load

from .test_edges import counted_model, random_edges

CONFIG = NetworkConfig(registers=("layers",))
KANELE = Path(os.environ.get("NPUGEN_SHARED", "absent")) / "data" / "kanele_jsc_openml"


#   model                                                    sums
MODELS = [
    (random_edges(1, ((4, 3), (6, 6))),                        3),
    (random_edges(2, ((3, 2, 2), (3, 7, 4))),                  4),  # tables of 7 inputs
    (counted_model(3),                                         7),  # limits instead of saturation
    (random_edges(9, ((12, 3), (2, 5))),                       3),  # bits that are always 0
]


@pytest.mark.parametrize("model, sums", MODELS)
def test_what_is_built_is_proven(model, sums):
    proof = prove(model, CONFIG)
    assert proof.sums == sums and proof.lookups > 0 and proof.adders > 0


def test_every_broken_cell_is_found():
    """A flipped table entry makes a claim false, unless the entry is of no reachable code."""
    model = random_edges(4, ((3, 2), (4, 5)))
    module = report.netlist_json(model, CONFIG)
    prove(model, CONFIG, module)
    tables = [name for name, cell in module["cells"].items() if cell["type"].startswith("LUT")]
    rng, missed = np.random.default_rng(0), []
    for name in tables:
        broken = copy.deepcopy(module)
        parameters = broken["cells"][name]["parameters"]
        entries = list(parameters["INIT"])
        at = rng.integers(len(entries))
        entries[at] = "10"[int(entries[at])]
        parameters["INIT"] = "".join(entries)
        try:
            prove(model, CONFIG, broken)
            missed.append(name)
        except EdgeProofError:
            pass
    # Tables behind the sums have entries for sums that are never reached.
    assert len(missed) <= len(tables) // 10


def _swap_sums(module):
    """Two bits of the output, taken from one another's nets."""
    bits = module["netnames"]["o"]["bits"]
    bits[0], bits[1] = bits[1], bits[0]


def _read_another_input(module):
    bits = module["netnames"]["i"]["bits"]
    bits[:4], bits[4:8] = bits[4:8], bits[:4]


def _reset_a_register(module):
    next(c for c in module["cells"].values() if c["type"] == "FDRE")["connections"]["R"] = ["1"]


#   change                  message
BROKEN = [
    (_swap_sums,            "output 0 is not the code of its sum"),
    (_read_another_input,   ".+"),  # whichever claim meets it first
    (_reset_a_register,     r"net \d+ must come from a register without reset, not from FDRE"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_wrong_wires_are_named(change, message):
    model = random_edges(4, ((3, 2), (4, 5)))
    module = copy.deepcopy(report.netlist_json(model, CONFIG))
    change(module)
    with pytest.raises(EdgeProofError, match=f"^{message}$"):
        prove(model, CONFIG, module)


def test_another_model_is_not_proven():
    model = random_edges(4, ((3, 2), (4, 5)))
    layer = model.layers[0]
    tables = layer.tables.copy()
    tables[0, 0, 5] += 1
    other = EdgeModel((EdgeLayer(tables, layer.edges, layer.out_bits),))
    with pytest.raises(EdgeProofError):
        prove(other, CONFIG, report.netlist_json(model, CONFIG))


def test_wrong_configuration():
    with pytest.raises(ValueError, match="^config must have carry-chain counters and registers "
                                         "behind the layers alone, not "):
        prove(MODELS[0][0], NetworkConfig(registers=()))


@pytest.mark.slow
@pytest.mark.skipif(not KANELE.is_dir(), reason="NPUGEN_SHARED must name the folder with data")
def test_published_tables_are_proven():
    model = load(KANELE)
    proof = prove(model, CONFIG)
    assert proof.sums == 13
    assert report.figures(model, CONFIG).lut_total <= 1250
