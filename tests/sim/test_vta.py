import json
import re
from pathlib import Path

import numpy as np
import pytest

from hw.options import command as program
from hw.tools import ToolError
from hw.vta.assembler import Program
from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import AluOp, Isa, Memory, Opcode
from sim.golden.vta import Machine, simulate
from sim.vta import _parser, main
from sim.vta_compare import draw_conditions
from sim.vta_engine import Conditions, EngineError, IssEngine, Outcome, differences
from sim.vta_fuzz import fuzz_program


def add_program(config):
    with Program(config) as p:
        a = p.buffer("a", Memory.ACC, np.arange(64, dtype=np.int32).reshape(-1, 16))
        y = p.buffer("y", Memory.OUT, 4)
        kernel = p.kernel([(0, 0)])
        p.load(a)
        p.alu(AluOp.ADD, kernel, (4, 1, 1), imm=3, push="g2s")
        p.store(y, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    return p


@pytest.fixture
def stream(tmp_path):
    p = add_program(VtaConfig())
    (tmp_path / "in.bin").write_bytes(p.image())
    return p, ["run", "--image", str(tmp_path / "in.bin"), "--out", str(tmp_path / "out.bin"),
               "--insn-addr", hex(p.insn_addr), "--insn-count", str(p.insn_count)]


def test_run(stream, tmp_path, capsys):
    p, command = stream
    assert main([*command, "--seed", "7"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["seed"], report["level"]) == ("done", 7, "iss")
    assert report["cycles"] > 0 and report["counters"]["alu_micro_operations"] == 4
    out = np.frombuffer((tmp_path / "out.bin").read_bytes(), np.uint8)
    assert out[p.buffers["y"].slice].tolist() == list(range(3, 67))


def test_run_that_fails(stream, tmp_path, capsys):
    """What was stored stays, and the line names the instruction."""
    p, command = stream
    image = bytearray(p.image())
    image[-16] = Opcode.ILLEGAL  # in place of FINISH
    (tmp_path / "in.bin").write_bytes(image)
    assert main(command) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["instruction"]) == ("illegal_opcode", p.insn_count - 1)
    out = np.frombuffer((tmp_path / "out.bin").read_bytes(), np.uint8)
    assert out[p.buffers["y"].slice].tolist() == list(range(3, 67))


def test_run_reports_races(tmp_path, capsys):
    isa = Isa(VtaConfig())
    words = [isa.encode(Opcode.LOAD, memory_type=Memory.ACC, y_size=1, x_size=1),
             isa.encode(Opcode.STORE, memory_type=Memory.OUT, y_size=1, x_size=1),
             isa.encode(Opcode.FINISH)]
    (tmp_path / "in.bin").write_bytes(bytes(64) + b"".join(w.to_bytes(16, "little")
                                                           for w in words))
    assert main(["run", "--image", str(tmp_path / "in.bin"), "--out", str(tmp_path / "out.bin"),
                 "--insn-addr", "64", "--insn-count", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "instructions 0 and 1 collide at acc[0]" in report["races"][0]
    assert report["late"] == ["instruction 1 may execute after FINISH"]


def test_config_file(stream, tmp_path, capsys):
    _, command = stream
    (tmp_path / "config.json").write_text(VtaConfig(bus_width=256).to_json())
    assert main([*command, "--config", str(tmp_path / "config.json")]) == 0
    wide = json.loads(capsys.readouterr().out)["cycles"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["cycles"] > wide


def complaint(options, capsys) -> str:
    """The one line that a command says as it ends with code 2."""
    with pytest.raises(SystemExit) as raised:
        program(main)(options)
    captured = capsys.readouterr()
    assert raised.value.code == 2 and captured.out == "" and captured.err.count("\n") == 1
    return captured.err.strip().removeprefix("error: ").removesuffix(
        " (--help shows what is allowed)")


@pytest.mark.parametrize("change, message", [
    (["--insn-addr", "1000000"], "instructions must lie in the image .* 0xf4240, 5 of 16 bytes"),
    (["--insn-count", "0"],      "instructions must lie in the image .*, 0 of 16 bytes"),
    (["--image", "/nowhere"],    "image must be a file that can be read: .*"),
    (["--out", "/nowhere/x"],    "out must be a file that can be written: .*"),
    (["--config", "/nowhere"],   "config must be default, .* or a file: .*"),
    (["--latency", "0"],         "latency must be 1 to 100000 cycles, not 0"),
    (["--stall", "1.0"],         "stall must be 0 to 0.95, not 1.0"),
    (["--stall", "x"],           ".*argument --stall: must be a number, not 'x'"),
    (["--insn-count", "x"],      ".*argument --insn-count: must be an integer, not 'x'"),
    (["--level", "gates"],       ".*argument --level: invalid choice: 'gates'.*"),
])
def test_bad_input_is_one_sentence(stream, capsys, change, message):
    _, command = stream
    assert re.fullmatch(message, complaint([*command, *change], capsys))


def test_bad_config_file(stream, tmp_path, capsys):
    _, command = stream
    (tmp_path / "config.json").write_text('{"LOG_BLOCK": 3}')
    assert "2*(LA + LI + LW) must be at most 64 bits" in complaint(
        [*command, "--config", str(tmp_path / "config.json")], capsys)


@pytest.mark.parametrize("options", [[], ["--plain"], ["--config", "block4"]])
def test_fuzz(options, capsys):
    assert main(["fuzz", "--programs", "5", "--seed", "3", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["programs"], report["seed"]) == ("done", 5, 3)


@pytest.mark.parametrize("options, message", [
    (["--programs", "0"],    "programs must be at least 1, not 0"),
    (["--latency", "5-3"],   ".*argument --latency: must not end before it begins, as '5-3' does"),
    (["--latency", "0-9"],   "latency must be 1 to 100000 cycles, not 0"),
    (["--latency", "-3"],    ".*argument --latency: .*"),
    (["--stall", "0.5-2"],   r"stall must be 0 to 0.95, not 2\.0"),
])
def test_fuzz_of_what_cannot_be(options, message, capsys):
    assert re.fullmatch(message, complaint(["fuzz", *options], capsys))


def test_conditions_are_drawn_for_each_program():
    drawn = [draw_conditions((1, 200), (0.0, 0.5), seed) for seed in range(300)]
    assert drawn[7] == draw_conditions((1, 200), (0.0, 0.5), 7)
    latencies = [conditions.latency for conditions in drawn]
    assert min(latencies) == 1 and max(latencies) > 180 and 10 < np.median(latencies) < 20
    assert max(conditions.stall for conditions in drawn) > 0.48
    assert draw_conditions((7, 7), (0.0, 0.0), 1) == Conditions(7, 0.0, 1)


@pytest.mark.parametrize("command", ["run", "fuzz", "bench"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert f"python -m sim.vta {command}" in text.split("options:")[0].split("usage")[1]
    example = next(line for line in text.splitlines() if line.startswith("  python -m sim.vta"))
    _parser().parse_args(example.split()[3:])  # the example is one


def test_a_broken_core_is_reported(stream, monkeypatch, capsys):
    def run(*_, **__):
        raise EngineError("cycle 7: W changed what it offered")

    _, command = stream
    monkeypatch.setattr(IssEngine, "run", run)
    assert main(command) == 1
    assert json.loads(capsys.readouterr().out)["message"] == "cycle 7: W changed what it offered"


def test_without_a_compiler(stream, monkeypatch, capsys):
    def engine(*_):
        raise ToolError("g++ not found, which the simulator is built with: apt-get install g++")

    _, command = stream
    monkeypatch.setattr("sim.vta.engine", engine)
    assert complaint(command, capsys).startswith("g++ not found")


def test_fuzz_finds_a_wrong_engine(monkeypatch, capsys):
    """An engine that skips GEMM is reported, with the instruction where it parts ways."""
    original = IssEngine.run

    def lazy(self, image, insn_addr, insn_count, conditions, *, order="program", **options):
        if order == "program":
            return original(self, image, insn_addr, insn_count, conditions, **options)
        stream, patched = slice(insn_addr, insn_addr + 16 * insn_count), image.copy()
        for at in range(stream.start, stream.stop, 16):  # the engine under test
            word = int.from_bytes(image[at:at + 16].tobytes(), "little")
            if word & 7 == Opcode.GEMM:
                word &= ~(0x3fff << 35)  # no turns of the outer loop
                patched[at:at + 16] = np.frombuffer(word.to_bytes(16, "little"), np.uint8)
        outcome = original(self, patched, insn_addr, insn_count, conditions, order=order, **options)
        outcome.image[stream] = image[stream]
        return outcome

    monkeypatch.setattr(IssEngine, "run", lazy)
    assert main(["fuzz", "--programs", "20"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "mismatch" and report["program"] in range(20)
    assert re.match(r"instruction \d+ \(gemm .*\): expected COMPUTE to write", report["divergence"])


#   bench        least utilisation that the model of the overlap must predict
@pytest.mark.parametrize("what, least", [
    ("alu", 0.99), ("load", 0.95), ("store", 0.95), ("depthwise", 0.99),
])
def test_bench(what, least, capsys):
    assert main(["bench", what]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "done" and report["utilisation"] >= least
    assert report["cycles"] == report["predicted_cycles"] <= report["serial_cycles"]


def test_bench_tells_the_bounds(capsys):
    assert main(["bench", "overlap"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lower_bound_cycles"] == 32 * 5 * 64 == report["ideal_cycles"]
    assert report["overhead_cycles"] == report["cycles"] - report["lower_bound_cycles"]
    assert report["serial_cycles"] > 2 * report["lower_bound_cycles"]


@pytest.mark.parametrize("name", ["small", "block4"])
def test_bench_gemm_is_right_everywhere(name, capsys):
    assert main(["bench", "gemm", "--config", name]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"


def test_differences():
    pads = {"acc": np.zeros((2, 1, 4), np.int32)}
    a = Outcome(0, 1, np.zeros(4, np.uint8), pads, {})
    b = Outcome(0, 1, np.zeros(4, np.uint8), {"acc": pads["acc"].copy()}, {})
    assert differences(a, b) is None
    b.scratchpads["acc"][1, 0, 2:] = 5
    assert differences(a, b) == "acc[1, 0, 2] is 5, not 0, and 1 more differ"


def test_random_programs_repeat():
    a, b = (fuzz_program(preset("block4"), 5) for _ in range(2))
    assert a.words == b.words and (a.image == b.image).all()
    assert fuzz_program(preset("block4"), 6).words != a.words
    with pytest.raises(ValueError, match="^extensions must be False for a core without them"):
        fuzz_program(VtaConfig(extensions=False), 0, extensions=True)


def test_random_programs_cover_the_instruction_set():
    """Whatever an instruction can be appears among few programs; most tokens are needed."""
    config, seen, needed = preset("block4"), set(), []
    isa = Isa(config)
    for seed in range(60):
        program = fuzz_program(config, seed)
        for word in program.words:
            insn = isa.decode(word)
            name = isa.disassemble(word).split()[0]
            seen.add(name)
            if insn.opcode == Opcode.ALU:
                seen.add((name, "imm" if insn.use_imm else "reg"))
            if insn.opcode == Opcode.LOAD and insn.x_size:
                seen |= {(name, "pad")} if insn.x_pad_0 + insn.y_pad_1 else set()
                seen |= {(name, "rows")} if insn.y_size > 1 else set()
                seen |= {(name, "no rows")} if insn.y_size == 0 else set()
            if "iter_out" in insn.fields and not (
                    insn.iter_out and insn.iter_in and insn.uop_end > insn.uop_bgn):
                seen.add((name.split(".")[0], "empty"))
        words = [word & ~0x78 | (word & 0x78 if i < len(program.words) // 2 else 0)
                 for i, word in enumerate(program.words)]  # the second half without its tokens
        result = simulate(Machine(config), words, program.image.copy())
        needed.append(bool(result.races or result.late or result.message))
    loads = [f"load.{kind.name.lower()}" for kind in Memory if kind != Memory.OUT]
    expected = {*loads, *((load, how) for load in loads for how in ("pad", "rows", "no rows"))}
    expected |= {(f"alu.{op.name.lower()}", form) for op in AluOp for form in ("imm", "reg")}
    expected |= {"load_pad.inp", "load_pad.wgt", "load_pad.acc", "load_pad.acc_8bit", "gemm",
                 "depthwise", "store.out", "finish", ("gemm", "empty"), ("alu", "empty")}
    assert expected <= seen, expected - seen
    assert sum(needed) > 50


def test_engine_leaves_the_image_alone():
    program = fuzz_program(PRESETS["block4"], 1)
    before = program.image.copy()
    IssEngine(program.config).run(program.image, program.insn_addr, program.insn_count,
                                  Conditions())
    assert (program.image == before).all()


def test_the_documented_program_runs(tmp_path, monkeypatch, capsys):
    """The example of docs/vta.md, and the command behind it."""
    page = (Path(__file__).parents[2] / "docs/vta.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    said = capsys.readouterr().out.split()[-2:]
    command = re.search(r"^python -m sim.vta (run .*?)(?:  #|$)", page, re.MULTILINE)[1].split()
    assert said == [command[command.index(f"--insn-{what}") + 1] for what in ("addr", "count")]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"
    out = np.frombuffer((tmp_path / "out.bin").read_bytes(), np.int8)
    assert (out[0x3000:0x3000 + 13 * 16] == 4 * 16 // 4).all()
