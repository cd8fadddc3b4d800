"""The decoder of bitstreams, where it is installed; else the sentence that says how to get it."""

import json
import os
import shutil

import pytest

from boards.bitstream import decoder, main
from hw.build import main as build
from hw.tools import ToolError


def test_the_decoder_is_named(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ToolError, match="^icebox_vlog is not on the path, .*: "
                                        "apt-get install fpga-icestorm$"):
        decoder()


def test_a_folder_without_bitstream(tmp_path):
    with pytest.raises(ValueError, match="^folder must be one that python -m hw.build lutnet"):
        main([str(tmp_path)])


# Minutes: place and route, and the netlist's simulation.
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("icebox_vlog") is None,
                    reason="icebox_vlog is missing: apt-get install fpga-icestorm")
def test_the_bitstream_gives_the_models_labels(tmp_path, capsys):
    words = "lutnet --model hw/lutnet/models/drybean_m7.npz --fabric ice40 --board icebreaker "\
        "--clock 24"
    assert build([*words.split(), "-o", str(tmp_path)]) == 0
    folder = json.loads(capsys.readouterr().out)["folder"]
    assert main([folder, "--limit", "100"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["equal"] == line["rows"] == 100
