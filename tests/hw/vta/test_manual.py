import subprocess
import sys

import pytest

from hw.vta.config import PRESETS, VtaConfig
from hw.vta.isa import FORMS, AluOp, Fault, Opcode
from hw.vta.manual import ALU_SEMANTICS, FAULT_MEANING, SEMANTICS, manual
from hw.vta.registers import register_map


def test_everything_has_a_meaning():
    assert SEMANTICS.keys() | {Opcode.ILLEGAL} == set(Opcode)
    assert ALU_SEMANTICS.keys() == set(AluOp)
    assert FAULT_MEANING.keys() == set(Fault)


@pytest.mark.parametrize("name", PRESETS)
def test_page_names_every_field(name):
    page = manual(PRESETS[name])
    for opcode, words in FORMS.items():
        if opcode != Opcode.ILLEGAL:
            part = page.split(f"\n## {opcode.name}")[1].split("\n## ")[0]
            for field in (field for word in words for field in word[5 * (word is words[0]):]):
                assert f"| {field.name}" in part, (opcode, field)


def test_page_names_every_register():
    for config in (VtaConfig(), VtaConfig(address_width=40)):
        page = manual(config).split("\n## Registers")[1]
        for register in register_map(config).values():
            assert f"| {register.offset:#05x} | {register.name} | {register.access} |" in page


def test_bits_follow_the_configuration():
    assert "| 127:118 | wgt_factor_in |" in manual(VtaConfig())
    assert "| 119:112 | wgt_factor_in |" in manual(VtaConfig(log_block=5))
    assert "has none of them" in manual(VtaConfig(extensions=False))


def test_command():
    page = subprocess.run([sys.executable, "-m", "hw.vta.manual", "block8"], check=True,
                          capture_output=True, text=True).stdout
    assert page == manual(PRESETS["block8"])
    wrong = subprocess.run([sys.executable, "-m", "hw.vta.manual", "block9"],
                           capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("preset must be one of default")
    assert wrong.stderr.count("\n") == 1
