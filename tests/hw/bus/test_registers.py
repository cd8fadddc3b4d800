"""The header for C says what the tables say: a compiler is asked."""

import subprocess

import pytest

from hw.bus.protocol import Command, Header, Status
from hw.bus.registers import c_header, python_map
from hw.vta.config import PRESETS
from hw.vta.registers import register_map


@pytest.mark.parametrize("base", [0, 0x1000])
def test_a_compiler_reads_the_same_numbers(tmp_path, base):
    registers = register_map(PRESETS["default"])
    expected = {f"VTA_{name.upper()}": address
                for name, address in python_map(registers, base=base).items()}
    expected |= {f"LINK_COMMAND_{c.name}": c.value for c in Command}
    expected |= {f"LINK_STATUS_{s.name}": s.value for s in Status}
    expected |= {f"LINK_HEADER_{name.upper()}": field.offset // 8
                 for name, field in Header.as_shape()}
    (tmp_path / "vta.h").write_text(c_header("vta", registers, base=base))
    prints = "\n".join(f'printf("{name} %u\\n", {name});' for name in expected)
    (tmp_path / "main.c").write_text(
        f'#include <stdio.h>\n#include "vta.h"\n#include "vta.h"\nint main(void) {{\n{prints}\n}}')
    subprocess.run(["g++", "-x", "c++", "-Wall", "-Werror", "main.c", "-o", "main"], cwd=tmp_path,
                   check=True)
    said = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert {name: int(value) for name, value in map(str.split, said.splitlines())} == expected
    assert len(registers) > 30
