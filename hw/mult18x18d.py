"""Simulation model of the ECP5's multiplier MULT18X18D, which Yosys does not bring.

Names, parameters and their meaning: Lattice FPGA-TN-02205, "ECP5 and ECP5-5G sysDSP Usage Guide".
"""

__all__ = ["MULTIPLIER_MODEL"]


def _ports(name: str, count: int) -> str:
    return ", ".join(f"{name}{n}" for n in reversed(range(count)))


# The parameters stand in the primitive's own form; a use beyond the model's subset refers to a
# module that does not exist, so that it is refused when the netlist is put together.
MULTIPLIER_MODEL = f"""\
module MULT18X18D(
  input {_ports("A", 18)},
  input {_ports("B", 18)},
  input {_ports("C", 18)},
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  output {_ports("P", 36)}
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter CLK0_DIV = "ENABLED";
  parameter GSR = "ENABLED";
  parameter MULT_BYPASS = "DISABLED";
  parameter SOURCEB_MODE = "B_SHIFT";
  parameter RESETMODE = "SYNC";

  // Sign extension makes one signed product of all four combinations of signs.
  wire signed [18:0] a = {{SIGNEDA & A17, {_ports("A", 18)}}};
  wire signed [18:0] b = {{SIGNEDB & B17, {_ports("B", 18)}}};
  wire signed [18:0] s1_a, s1_b;
  wire signed [35:0] s2_product = s1_a * s1_b;
  wire signed [35:0] s3_product, p;

  MULT18X18D_register #(19, REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST, RESETMODE)
    input_a(CLK0, CE0, RST0, a, s1_a);
  MULT18X18D_register #(19, REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST, RESETMODE)
    input_b(CLK0, CE0, RST0, b, s1_b);
  MULT18X18D_register #(36, REG_PIPELINE_CLK, REG_PIPELINE_CE, REG_PIPELINE_RST, RESETMODE)
    pipeline(CLK0, CE0, RST0, s2_product, s3_product);
  MULT18X18D_register #(36, REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST, RESETMODE)
    result(CLK0, CE0, RST0, s3_product, p);
  assign {{{_ports("P", 36)}}} = p;

  generate if (MULT_BYPASS != "DISABLED" || REG_INPUTC_CLK != "NONE")
    MULT18X18D_without_a_model unsupported();
  endgenerate
endmodule

module MULT18X18D_register #(
  parameter WIDTH = 1, parameter CLK = "NONE", parameter CE = "CE0", parameter RST = "RST0",
  parameter RESETMODE = "SYNC"
) (input clk, ce, rst, input [WIDTH-1:0] d, output [WIDTH-1:0] q);
  generate
    if (CLK == "NONE") begin
      assign q = d;
    end else if (CLK == "CLK0" && CE == "CE0" && RST == "RST0" && RESETMODE == "SYNC") begin
      reg [WIDTH-1:0] held = 0;
      always @(posedge clk)
        if (rst) held <= 0;
        else if (ce) held <= d;
      assign q = held;
    end else begin
      MULT18X18D_without_a_model unsupported();
    end
  endgenerate
endmodule
"""
